"""The figures of docs/reliability.md on hostile inputs:

    python -m embeddings_dagster_tests.security --summary FILE [--examples 5000] [--seed N]

Every parser of the registry with its found cases, and the set of hostile files of `tools/make_hostile.py` is counted by
`line/test_hostile.py`. Ends with 1 where a promise was broken.
"""

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from pathlib import Path

from embeddings_dagster_tests.security.fuzzing import Overlong, Parser, Tally, fuzz, judge
from embeddings_dagster_tests.security.registry import PARSERS


def try_all(parser: Parser, examples: int, seed: int) -> Tally:
    """The inputs and the cases of a parser; what broke a promise is among its violations."""
    tally = Tally()
    began = time.process_time()
    for said, case in parser.cases:
        try:
            judge(parser, case, tally)
        except (Exception, Overlong) as error:
            tally.violations.append(f"{said}: {type(error).__name__}: {str(error)[:200]}")
    try:
        found = fuzz(parser, examples, seed)
    except (Exception, Overlong) as error:
        tally.violations.append(f"{type(error).__name__}: {str(error)[:200]}")
    else:
        tally.tried, tally.refused = tally.tried + found.tried, tally.refused + found.refused
    tally.seconds = time.process_time() - began
    return tally


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--summary", type=Path, required=True, help="where the figures go, as JSON")
    options.add_argument("--examples", type=int, default=5_000, help="inputs a parser")
    options.add_argument("--seed", type=int, default=random.randrange(2**32))
    given = options.parse_args()
    kinds: dict[str, dict[str, float]] = defaultdict(lambda: {"inputs": 0, "refused": 0, "seconds": 0.0})
    violations: list[str] = []
    for parser in PARSERS:
        tally = try_all(parser, given.examples, given.seed)
        kind = kinds[parser.kind]
        kind["inputs"] += tally.tried
        kind["refused"] += tally.refused
        kind["seconds"] = round(kind["seconds"] + tally.seconds, 1)
        violations += [f"{parser.name}: {each}" for each in tally.violations]
        print(f"{parser.name}: {tally.tried:,} inputs, {len(tally.violations)} violations", file=sys.stderr)
    summary = {
        "seed": given.seed,
        "parsers": len(PARSERS),
        "inputs": sum(kind["inputs"] for kind in kinds.values()),
        "seconds": round(sum(kind["seconds"] for kind in kinds.values()), 1),
        "violations": violations,
        "kinds": kinds,
    }
    given.summary.write_text(json.dumps(summary, indent=1) + "\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
