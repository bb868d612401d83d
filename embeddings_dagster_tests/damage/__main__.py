"""The figures of docs/reliability.md on damage:

    python -m embeddings_dagster_tests.damage --summary FILE [--bits 1000] [--seed N]

So many flipped bits of every kind of committed file, and every other injury as often as there are files; ends with 1
where `verify` passed over one.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from embeddings_dagster.stages import looks, settling
from embeddings_dagster_tests.damage.injuries import INJURIES, flip, injure
from embeddings_dagster_tests.damage.kinds import KINDS
from embeddings_dagster_tests.damage.ward import Ward, make_ward
from embeddings_dagster_tests.shop import open_shop

ROUNDS = 20  # of flipped bits between two looks at the counts; and of each injury, less where files are fewer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m embeddings_dagster_tests.damage", description=__doc__)
    parser.add_argument("--summary", type=Path, required=True, help="where the counts go, as JSON")
    parser.add_argument("--bits", type=int, default=1000, help="flipped bits of each kind of file, at least")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    given = parser.parse_args()
    began = time.process_time()
    bits: Counter[str] = Counter()
    injuries: Counter[str] = Counter()
    violations: list[str] = []
    with tempfile.TemporaryDirectory() as folder, open_shop() as shop:
        ward = make_ward(Path(folder), shop)
        try:
            _injure(ward, given.bits, given.seed, bits, injuries)
        except AssertionError as error:
            violations.append(str(error))
    said = {
        "seed": given.seed,
        "bits": bits.total(),
        "injuries": injuries.total(),
        "bits_by_kind": {kind.name: bits[kind.name] for kind in KINDS},
        "injuries_by_kind": dict(injuries),
        "cpu_seconds": round(time.process_time() - began, 1),
        "violations": violations,
    }
    given.summary.write_text(json.dumps(said, indent=1) + "\n")
    return bool(violations)


def _injure(ward: Ward, wanted: int, seed: int, bits: Counter[str], injuries: Counter[str]) -> None:
    chance = random.Random(seed)
    while min(bits[kind.name] for kind in KINDS) < wanted:
        flip(ward, ROUNDS, chance.randrange(2**32), bits)
        print(f"{bits.total():,} bits", file=sys.stderr)
    for what, injury in INJURIES.items():
        injuries.update(injure(ward, injury, what, chance.randrange(2**32), ROUNDS))
        print(f"{injuries.total():,} injuries", file=sys.stderr)


if __name__ == "__main__":
    for name in [each for each in os.environ if each.startswith("EMBEDDINGS_")]:
        del os.environ[name]
    looks.APART = settling.APART = timedelta(0)  # no second look at a file needs two seconds
    sys.exit(main())
