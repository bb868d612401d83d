"""Who takes part: ours in each precision, and the others; each is a step that a child does, and a title."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Spec = dict[str, Any]

BATCH = 32  # of the references; the loop also has one picture at a time, as scripts do
REFERENCE = "loop-32"  # whose vectors all others are compared with


@dataclass(frozen=True)
class Variant:
    """A way to set a model of ours."""

    precision: str
    backend: str
    preprocessing: str

    @property
    def name(self) -> str:
        """As the settings of a project call it."""
        return f"{self.precision}_{self.backend}_{self.preprocessing}"

    @property
    def title(self) -> str:
        return f"{self.precision}, {self.backend}, {self.preprocessing}"


DEFAULT = Variant("fp32", "torch", "exact")
VARIANTS = (
    DEFAULT,
    Variant("fp32", "openvino", "exact"),
    Variant("bf16", "torch", "exact"),
    Variant("bf16", "torch", "fast"),
    Variant("bf16", "openvino", "exact"),
    Variant("bf16", "openvino", "fast"),
    Variant("int8", "openvino", "exact"),
    Variant("int8", "openvino", "fast"),
)
FEW = (DEFAULT, VARIANTS[2], VARIANTS[5], VARIANTS[7])
GPU_VARIANTS = (Variant("bf16", "torch", "exact"), Variant("bf16", "torch", "fast"), Variant("fp16", "torch", "fast"))


@dataclass(frozen=True)
class Contestant:
    """`ours` has the variant where it is this project that runs; `once`: in the first round only."""

    name: str
    title: str
    spec: Spec
    ours: Variant | None = None
    once: bool = False


def absent() -> dict[str, tuple[str, str]]:
    """Packages that are not here: each with the extra that brings it, and what goes without."""
    wanted = {
        "sentence_transformers": ("bench", "the comparison with sentence-transformers"),
        "daft": ("bench", "the comparison with Daft"),
        "openvino": ("openvino", "everything that OpenVINO computes"),
        "nncf": ("openvino", "int8"),
    }
    return {name: told for name, told in wanted.items() if importlib.util.find_spec(name) is None}


def possible(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """Those whose packages are here."""
    lacking = absent()
    return tuple(
        each
        for each in variants
        if not (each.backend == "openvino" and "openvino" in lacking)
        and not (each.precision == "int8" and "nncf" in lacking)
    )


def loops(model: Path, pictures: Path, device: str) -> list[Contestant]:
    """The hand-written loop. One thread is shown too, since threads that wait for each other cost CPU-seconds."""
    spec = {"step": "loop", "model": str(model), "pictures": str(pictures), "device": device, "threads": 0}
    return [
        Contestant("loop-1", "loop, one picture at a time", {**spec, "batch": 1}),
        Contestant(REFERENCE, f"loop, batches of {BATCH}", {**spec, "batch": BATCH}),
        Contestant("loop-32-alone", f"loop, batches of {BATCH}, one thread", {**spec, "batch": BATCH, "threads": 1}),
    ]


def libraries(kind: str, model: Path, pictures: Path, device: str) -> list[Contestant]:
    """What people use instead of a loop, where it is installed; sentence-transformers takes no DINOv2."""
    spec = {"model": str(model), "pictures": str(pictures), "device": device, "batch": BATCH}
    lacking, found = absent(), []
    if kind == "clip" and "sentence_transformers" not in lacking:
        step = {**spec, "step": "sentence_transformers"}
        found.append(Contestant("sentence-transformers", "sentence-transformers", step))
    if "daft" not in lacking:
        found.append(Contestant("daft", "Daft", {**spec, "step": "daft"}))
    return found


def ours(step: str, root: Path, variants: Sequence[Variant]) -> list[Contestant]:
    """This project's own, each a model of the project in `root`."""
    return [
        Contestant(each.name, each.title, {"step": step, "root": str(root), "model": each.name}, each)
        for each in variants
    ]


def matrices(device: str) -> list[Contestant]:
    """Products of matrices, whose speed is taken as the peak."""
    return [
        Contestant(
            f"gemm-{precision}",
            f"torch.mm, {precision}",
            {"step": "gemm", "precision": precision, "device": device},
        )
        for precision in ("fp32", "bf16")
    ]


def with_vectors(contestants: Sequence[Contestant], root: Path, count: int) -> list[Contestant]:
    """The same, told how many pictures there are, and where to leave their vectors."""
    return [
        replace(each, spec={**each.spec, "count": count, "vectors": str(root / f"{each.name}.npy")})
        for each in contestants
    ]


def settings(kind: str, model: Path, variant: Variant, *, device: str, threads: int) -> dict[str, object]:
    """A variant of a model as a project's settings have it."""
    return {
        "kind": kind,
        "model": str(model.absolute()),
        "precision": variant.precision,
        "backend": variant.backend,
        "preprocessing": variant.preprocessing,
        "device": device,
        "threads": threads,
    }
