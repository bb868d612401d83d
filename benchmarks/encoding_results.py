"""The figures as they are found: each child's at once into a JSON file, from which an interrupted part goes on."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from encoding_contestants import REFERENCE, Contestant
from encoding_parts import Part, Run

HERE = Path(__file__).resolve().parent
PACKAGES = ("dagster", "torch", "transformers", "openvino", "nncf", "sentence-transformers", "daft", "pillow", "numpy",
            "pyarrow", "faiss-cpu")  # fmt: skip
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
    "DO_NOT_TRACK": "true",
    "DAFT_ANALYTICS_ENABLED": "0",
}
GIVE_BACK = {"MIMALLOC_PURGE_DELAY": "0"}  # what Arrow has freed is not resident, so it is not counted as needed


class Results:
    """What was measured so far, in `file`: of each part what it was about, what had to be found first, the rounds."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.parts: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}

    def begin(self, part: Part, *, anew: bool) -> dict[str, Any]:
        """The part's record: what is there, if it is of the same sizes, or an empty one."""
        found = self.parts.get(part.name)
        if anew or found is None or found["about"] != part.about:
            found = {"section": part.section, "about": part.about, "facts": {}, "ready": False}
            found.update(titles={}, precisions={}, rounds=[])
            self.parts[part.name] = found
        found["machine"] = machine()
        found["facts"].update(part.facts)
        found["titles"].update({each.name: each.title for each in part.contestants})
        found["precisions"].update({each.name: each.ours.precision for each in part.contestants if each.ours})
        return found

    def save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        beside = self._file.with_suffix(".partial")
        beside.write_text(json.dumps(self.parts, indent=1))
        beside.replace(self._file)


def measure(
    part: Part, results: Results, run: Run, *, rounds: int, anew: bool = False, tell: Callable[[str], None] = print
) -> None:
    """Measure what of a part is missing, saving after each child; `run` gives the figures of one, as `child` does."""
    record = results.begin(part, anew=anew)
    if not record["ready"]:
        tell(f"{part.name}: preparing")
        record["facts"].update(part.prepare(run))
        record["ready"] = True
        results.save()
    for number in range(rounds):
        if number == len(record["rounds"]):
            record["rounds"].append({})
        for each in part.contestants:
            if each.name in record["rounds"][number] or (each.once and number):
                continue
            figures = run(each.spec)
            record["rounds"][number][each.name] = figures
            tell(f"{part.name}, round {number + 1} of {rounds}: {each.title}: {_short(figures)}")
            results.save()
    _compare(part, record)
    results.save()


def child(spec: dict[str, Any], threads: int | None = None) -> dict[str, Any]:
    """The figures of one process.

    Raises:
        SystemExit: it failed; with what it said.
    """
    environment = {**os.environ, **QUIET, "PYTHONPATH": str(HERE.parent)}  # this copy, whichever is installed
    if spec["step"] == "memory":
        environment |= GIVE_BACK
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    if "root" in spec:
        environment["DAGSTER_HOME"] = str(Path(spec["root"]) / ".dagster")
        environment["EMBEDDINGS_SETTINGS"] = str(Path(spec["root"]) / "embeddings.yaml")
        Path(environment["DAGSTER_HOME"]).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(HERE / "encoding_child.py"), json.dumps(spec)]
    done = subprocess.run(command, env=environment, cwd=HERE.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{json.dumps(spec)}\n{done.stderr}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _compare(part: Part, record: dict[str, Any]) -> None:
    """Cosines of each contestant's vectors with those of the loop; and, to judge them, between unlike pictures."""
    files = {each.name: Path(each.spec["vectors"]) for each in part.contestants if "vectors" in each.spec}
    reference = next((file.with_name(f"{REFERENCE}.npy") for file in files.values()), None)
    if reference is None or not reference.exists():
        return
    theirs = _unit(np.load(reference))
    record.setdefault("cosines", {})
    for name, file in files.items():
        found = (_unit(np.load(file)) * theirs).sum(1)
        record["cosines"][name] = {"least": float(found.min()), "mean": float(found.mean())}
    some = theirs[:512]
    between = (some @ some.T)[np.triu_indices(len(some), 1)]
    record["unlike"] = {"mean": float(between.mean()), "least": float(between.min())}


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _short(figures: Mapping[str, Any]) -> str:
    images = figures.get("images")
    if images:
        return f"{figures['cpu'] / images * 1000:.2f} ms of CPU, {figures['wall'] / images * 1000:.2f} ms an image"
    return f"{figures['cpu']:.2f} s of CPU"


def machine() -> dict[str, Any]:
    """Where it is measured, and with what."""
    import torch

    found: dict[str, Any] = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "packages": {},
    }
    for name in PACKAGES:
        try:
            found["packages"][name] = version(name)
        except PackageNotFoundError:
            continue
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else ()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def chosen(contestants: tuple[Contestant, ...], names: list[str]) -> tuple[Contestant, ...]:
    """Those of these names; all, where none is named."""
    return tuple(each for each in contestants if not names or each.name in names)
