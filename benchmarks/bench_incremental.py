"""What an increment costs, and how much of it is orchestration: 1,025 pictures, then nothing new, then twelve of them.

Each figure is that of a process of its own, models loaded and everything imported before the clock starts. `stages` is
the work alone, called as functions; `run` is `embeddings run` with Dagster around it, on the same files. The two take
turns, so that a machine that slows down slows both.

    python benchmarks/bench_incremental.py [--pictures 1025] [--repeats 3]      writes docs/performance/incremental.md
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPORT = HERE.parent / "docs" / "performance" / "incremental.md"
SETTINGS = "sources:\n  art:\n    kind: folder\n    path: pictures\n"
SCENARIOS = ("first", "nothing", "twelve")
KINDS = ("stages", "run")
PACKAGES = ("dagster", "torch", "transformers", "pyarrow", "faiss-cpu")


def child(kind: str, root: Path) -> None:
    """Bring the project at `root` up to date, as `kind` says; print the seconds it took as JSON."""
    from embeddings_dagster.cli.progress import RunProgress
    from embeddings_dagster.cli.project import Here
    from embeddings_dagster.cli.running import Wish, execute

    project = Here.open(root / "embeddings.yaml")
    warm_up(project)
    wall, cpu = time.perf_counter(), time.process_time()
    if kind == "run":
        execute(project, Wish(("art",)), RunProgress())
    else:
        stages_alone(project)
    print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}))


def warm_up(project: object) -> None:
    """Load what both kinds use."""
    from PIL import Image

    import embeddings_dagster.definitions
    from embeddings_dagster.encoders import encode_image, load

    assert embeddings_dagster.definitions
    for model in project.settings.models.values():  # type: ignore[attr-defined]
        encode_image(load(model), Image.new("RGB", (64, 64)))


def stages_alone(project: object) -> None:
    """The same work without Dagster."""
    from embeddings_dagster.engines import LocalEngine
    from embeddings_dagster.stages.context import StageContext
    from embeddings_dagster.stages.discover import discover
    from embeddings_dagster.stages.embed import run_embed
    from embeddings_dagster.stages.index import refresh_index
    from embeddings_dagster.stages.raw import run_raw
    from embeddings_dagster.stages.rgb import run_rgb

    settings, store = project.settings, project.store  # type: ignore[attr-defined]
    context = StageContext(settings, store, "benchmark")
    found = discover(context, "art", wait=True)
    for batch in found.batches_changed:
        run_raw(context, batch)
        run_rgb(context, batch)
        for name, model in settings.models.items():
            run_embed(context, name, model, LocalEngine(), batch)
    for name in settings.models:
        refresh_index(context, name)


def measure(kind: str, root: Path) -> dict[str, float]:
    """One child's figures."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DAGSTER_HOME": str(root / ".dagster")}
    command = [sys.executable, str(Path(__file__).resolve()), "--child", kind, str(root)]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def prepare(folder: Path, pictures: int) -> tuple[Path, Path]:
    """A pile of pictures, and twelve more: ten new ones and two that replace old ones."""
    sys.path.insert(0, str(HERE.parent / "tools"))
    from render_artwork import render_artwork

    render_artwork(folder / "pictures", pictures)
    render_artwork(folder / "fresh", 12, seed=8)
    for number in range(1, 11):
        (folder / "fresh" / f"{number:04d}.png").rename(folder / "fresh" / f"new-{number}.png")
    (folder / "fresh" / "0011.png").rename(folder / "fresh" / f"{pictures // 10:04d}.png")
    (folder / "fresh" / "0012.png").rename(folder / "fresh" / f"{pictures // 2:04d}.png")
    return folder / "pictures", folder / "fresh"


def once(folder: Path, pictures: Path, fresh: Path) -> dict[tuple[str, str], dict[str, float]]:
    """One round: a new project for each kind, the three scenarios after one another, the kinds taking turns."""
    figures = {}
    roots = {kind: folder / kind for kind in KINDS}
    for root in roots.values():
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(pictures, root / "pictures")
        (root / "embeddings.yaml").write_text(SETTINGS)
    for scenario in SCENARIOS:
        for kind, root in roots.items():
            if scenario == "twelve":
                shutil.copytree(fresh, root / "pictures", dirs_exist_ok=True)
            figures[scenario, kind] = measure(kind, root)
    return figures


def report(rounds: list[dict[tuple[str, str], dict[str, float]]], pictures: int) -> str:
    """The figures as Markdown: medians, lowest and highest."""

    def cell(scenario: str, kind: str, what: str) -> tuple[str, float]:
        values = [each[scenario, kind][what] for each in rounds]
        middle = statistics.median(values)
        return f"{middle:.2f} ({min(values):.2f}–{max(values):.2f})", middle

    names = {
        "first": f"first run, {pictures:,} pictures",
        "nothing": "nothing changed",
        "twelve": "ten new, two changed",
    }
    lines = [
        "# What an increment costs",
        "",
        f"Made by `benchmarks/bench_incremental.py`: {pictures:,} RGBA pictures of 475x475, the bundled CLIP and "
        f"DINOv2, {len(rounds)} rounds, stages and run taking turns; median (lowest–highest). CPU-seconds of the whole "
        "process, imports and model loading apart. Wall time includes the two seconds between the two looks at new "
        "files.",
        "",
        f"{platform.machine()}, {os.cpu_count()} cores, one OpenMP thread; Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "",
        "| | CPU s, stages alone | with Dagster | orchestration's share | wall s, with Dagster | of the first run |",
        "|---|---|---|---|---|---|",
    ]
    first = cell("first", "run", "cpu")[1]
    for scenario in SCENARIOS:
        alone, alone_cpu = cell(scenario, "stages", "cpu")
        dagster, dagster_cpu = cell(scenario, "run", "cpu")
        share = max(0.0, 1 - alone_cpu / dagster_cpu)
        wall, _ = cell(scenario, "run", "wall")
        lines.append(f"| {names[scenario]} | {alone} | {dagster} | {share:.0%} | {wall} | {dagster_cpu / first:.1%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1025)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("KIND", "ROOT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], Path(arguments.child[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures, fresh = prepare(folder, arguments.pictures)
        rounds = [once(folder, pictures, fresh) for _ in range(arguments.repeats)]
    text = report(rounds, arguments.pictures)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
