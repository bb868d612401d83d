"""Kills a collection at every deletion, each time in a new copy of a store; run by `test_garbage.py`.

    python -m embeddings_dagster_tests.stages.garbage_driver STORE FOLDER STEP…

For each step, and each time it is reached: a child collects in a copy of `STORE` with the crash hook armed. Each child
that was killed leaves its copy as `FOLDER/<step>.<n>`, and its name on standard output.
"""

import itertools
import shutil
import sys
from datetime import timedelta
from pathlib import Path

from embeddings_dagster.stages.garbage import Bounds, collect
from embeddings_dagster.store import Store
from embeddings_dagster_tests.store.crash_driver import killed_at


def collect_all(place: Path) -> None:
    collect(Store.open(place / "data", place / "cache"), Bounds(timedelta(0), 1))


def main(store: Path, folder: Path, steps: list[str]) -> None:
    for step in steps:
        for number in itertools.count(1):
            place = folder / f"{step.replace(':', '-')}.{number}"
            shutil.copytree(store, place)
            if not killed_at(place, f"{step}:{number}", lambda place: None, collect_all):
                break
            print(place.name, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
