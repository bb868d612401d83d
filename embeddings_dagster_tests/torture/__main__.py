"""`python -m embeddings_dagster_tests.torture --kills 1000 --seed 7 --summary FILE`: kill, change, look, and count."""

import argparse
import sys
import tempfile
from pathlib import Path

from embeddings_dagster_tests.torture.machine import torture


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m embeddings_dagster_tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="kills that meet a live process, in all")
    parser.add_argument("--seed", type=int, default=20261129, help="of the first world; the next has the next seed")
    parser.add_argument("--world", type=int, default=100, help="kills before a new world is begun")
    parser.add_argument("--summary", type=Path, help="write what was done as JSON")
    parser.add_argument("--folder", type=Path, help="where worlds are made; default: a new one, kept on a violation")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="torture-"))
    done = torture(folder, kills=asked.kills, seed=asked.seed, world=asked.world, summary=asked.summary)
    for violation in done.violations:
        print(violation)
    sys.exit(bool(done.violations))


if __name__ == "__main__":
    main()
