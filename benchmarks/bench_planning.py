"""What it costs to find out what is to be done: folders, catalogues and scraped batches, from nothing and again.

Each step at three sizes, so that it shows whether time grows in proportion, and each in a process of its own (see
`planning_steps.py`). A million entries are made and not walked; a real folder is walked at a smaller number.

    python benchmarks/bench_planning.py [--entries 1000000] [--files 200000] [--rows 100000] [--batches 10000]
                                        [--repeats 3]                        writes docs/performance/planning.md
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
STEPS = HERE / "planning_steps.py"
REPORT = HERE.parent / "docs" / "performance" / "planning.md"
SETTINGS = "models: {dino: {kind: dino, model: 'bundled:dino'}}\nsources: {pile: {kind: %s, path: %s}}\n"
ITEMS = 10  # of a scraped batch, each with a picture
GIVE_BACK = {"MIMALLOC_PURGE_DELAY": "0"}  # what Arrow has freed is not resident, so it is not counted as needed
PACKAGES = ("dagster", "pyarrow", "numpy")
ABOUT = """\
# What it costs to see what is to be done

Made by `benchmarks/bench_planning.py`: {repeats} rounds, each from nothing; median (lowest–highest). CPU-seconds
of the whole process, imports apart. `plan` scans and compares with the ledger; `look` looks at new files a second time
and commits the ledger, as a run does before anything else. Bytes an entry: how much more resident memory, Arrow's
included, the process came to need at its peak at the largest size than at the smallest, divided by the entries between
the two; in brackets all that it grew by, divided by all entries, with what libraries load when they are first used. The
entries of the first table are made and not walked; what a walk adds is in the second, at a smaller number: its time and
memory grow in proportion.

{machine}, {cores} cores, one thread; Python {python}, {packages}
"""

Figures = dict[str, float]


@dataclass(frozen=True)
class Case:
    """A pile: `unit` is what there are so many of, each with `entries` pictures. `steps` are done one after another,
    each round from nothing; with `sensor`, every batch is then made, once, and each round has its ticks."""

    title: str
    unit: str
    largest: int
    prepare: Callable[[Path, int], None]
    steps: tuple[tuple[str, str], ...]
    entries: int = 1
    sensor: bool = False

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.largest // 4, self.largest // 2, self.largest


Found = dict[tuple[int, str], list[Figures]]
RAW, TICK = ("raw", "raw_images of every batch"), ("tick", "a sensor's tick, nothing new")
PLANS = (("plan", "plan, nothing known"), ("look", "look, all new"),
         ("plan", "plan, nothing new"), ("look", "look, nothing new"))  # fmt: skip


def cases(entries: int, files: int, rows: int, batches: int) -> list[Case]:
    """Everything that is measured."""
    twice = (("made_up", "plan, nothing known"), ("made_up", "plan, nothing new"))
    return [
        Case("Folder entries, made and not walked", "entries", entries, nothing, twice),
        Case("A real folder", "files", files, folder, PLANS),
        Case("Catalogue", "rows", rows, catalogue, PLANS),
        Case(f"Scraped batches of {ITEMS} items", "batches", batches, scraped, PLANS, ITEMS, sensor=True),
    ]


def nothing(root: Path, size: int) -> None:
    """The entries are made in the process that plans them."""


def folder(root: Path, size: int) -> None:
    """Empty files, a thousand a folder: a walk looks at names, sizes and times alone."""
    (root / "embeddings.yaml").write_text(SETTINGS % ("folder", "pile"))
    for number in range(size):
        album = root / "pile" / f"album-{number // 1000:05}"
        if number % 1000 == 0:
            album.mkdir(parents=True)
        os.close(os.open(album / f"photo-{number:09}.jpg", os.O_CREAT | os.O_WRONLY))


def catalogue(root: Path, size: int) -> None:
    """A CSV of products with a picture each, at addresses that nobody asks for here."""
    (root / "embeddings.yaml").write_text(SETTINGS % ("catalog", "products.csv"))
    with (root / "products.csv").open("w") as file:
        file.write("product_id,title,brand,price,image_url\n")
        for number in range(size):
            row = f"{number:08},A thing of many words {number},brand-{number % 97},{number % 500}.50"
            file.write(f"{row},https://shop.example/images/{number:08}.jpg\n")


def scraped(root: Path, size: int) -> None:
    """Folders as a scraper leaves them. The pictures are all one: they are only read to make `raw_images`."""
    from PIL import Image

    (root / "embeddings.yaml").write_text(SETTINGS % ("scraped", "pile"))
    Image.new("RGB", (4, 4), "red").save(root / "one.png")
    picture = (root / "one.png").read_bytes()
    for number in range(size):
        moment = datetime(2026, 1, 1) + timedelta(minutes=number)
        batch = root / "pile" / f"batch_{moment:%Y%m%d_%H%M%S}"
        batch.mkdir(parents=True)
        items = []
        for item in range(ITEMS):
            (batch / f"{item}.png").write_bytes(picture)
            items.append({"item_id": f"item-{number:06}-{item}", "title": f"Thing {number}", "price": 9.5,
                          "url": f"https://shop.example/{number}", "local_image_paths": [f"{item}.png"]})  # fmt: skip
        (batch / "batch.json").write_text(json.dumps({"scraped_at": moment.isoformat(), "items": items}))


def measure(step: str, root: Path, entries: int) -> Figures:
    """The figures of one step."""
    environment = {"DAGSTER_HOME": str(root), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **GIVE_BACK}
    command = [sys.executable, str(STEPS), step, str(root), str(entries)]
    done = subprocess.run(
        command, env={**os.environ, **environment}, cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def run(case: Case, repeats: int) -> Found:
    """Every step of a case at three sizes."""
    found: Found = {}
    for size in case.sizes:
        with tempfile.TemporaryDirectory() as name:
            case.prepare(Path(name), size)
            steps = [*case.steps] * repeats + ([RAW, *[TICK] * repeats] if case.sensor else [])
            for step, title in steps:
                if (step, title) == case.steps[0]:
                    shutil.rmtree(Path(name) / "data", ignore_errors=True)
                figures = measure(step, Path(name), size * case.entries)
                found.setdefault((size, title), []).append(figures)
                print(f"{case.title}: {size:,} {case.unit}: {title}: {figures}", flush=True)
    return found


def table(case: Case, found: Found) -> list[str]:
    """One case as Markdown."""
    sizes = " | ".join(f"{size:,}" for size in case.sizes)
    heads = ["CPU-seconds", sizes, f"µs for one, {case.sizes[0]:,} and {case.largest:,}", "bytes an entry"]
    lines = [f"## {case.title}", "", f"| {' | '.join(heads)} |", "|---" * 6 + "|"]
    for step, title in (*case.steps, *((RAW, TICK) if case.sensor else ())):
        cells = [cell([each["cpu"] for each in found[size, title]]) for size in case.sizes]
        first, last = (_middle(found[size, title], "cpu") / size * 1e6 for size in (case.sizes[0], case.largest))
        memory = "" if (step, title) in (RAW, TICK) else bytes_an_entry(case, found, title)
        lines.append(f"| {title} | {' | '.join(cells)} | {first:.1f}, {last:.1f} | {memory} |")
    if case.sensor:
        ticks = found[case.largest, TICK[1]]
        wall, files, pictures = (cell([each[what] for each in ticks]) for what in ("wall", "files", "pictures"))
        lines += ["", f"That tick over {case.largest:,} batches took {wall} seconds of wall time and opened {files} "
                  f"files, {pictures} of them pictures."]  # fmt: skip
    return [*lines, ""]


def bytes_an_entry(case: Case, found: Found, title: str) -> str:
    """What each entry more adds to the peak, and all of the growth shared out among all entries."""
    small, large = (_middle(found[size, title], "bytes") for size in (case.sizes[0], case.largest))
    more = (large - small) / (case.largest - case.sizes[0]) / case.entries
    return f"{more:.0f} ({large / case.largest / case.entries:.0f})"


def _middle(figures: Sequence[Figures], what: str) -> float:
    return statistics.median(each[what] for each in figures)


def cell(values: list[float]) -> str:
    """Median, lowest and highest; counts without a fraction."""
    form = "{:,.0f}" if all(value == int(value) for value in values) else "{:.2f}"
    middle, low, high = map(form.format, (statistics.median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"


def report(results: list[tuple[Case, Found]], repeats: int) -> str:
    """Everything as Markdown."""
    about = ABOUT.format(
        repeats=repeats,
        machine=platform.machine(),
        cores=os.cpu_count(),
        python=platform.python_version(),
        packages=", ".join(f"{name} {version(name)}" for name in PACKAGES),
    )
    return "\n".join([about, *(line for case, found in results for line in table(case, found))]).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--batches", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=REPORT)
    arguments = parser.parse_args()
    wanted = cases(arguments.entries, arguments.files, arguments.rows, arguments.batches)
    text = report([(case, run(case, arguments.repeats)) for case in wanted], arguments.repeats)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
