"""Every fault of every scenario, and what came of it, as JSON: what docs/reliability.md is made from.

python -m embeddings_dagster_tests.faults --summary FILE [--share 0.1] [--seed 1]
"""

import argparse
import json
import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from embeddings_dagster.stages import looks, settling
from embeddings_dagster_tests.faults.sweep import sweep


def main() -> int:
    """Exit code 1 when a fault broke a promise."""
    parser = argparse.ArgumentParser(prog="python -m embeddings_dagster_tests.faults", description=__doc__)
    parser.add_argument("--summary", type=Path, required=True, help="where the counts go")
    parser.add_argument("--share", type=float, default=1.0, help="of the faults of each scenario; 1 for all")
    parser.add_argument("--seed", type=int, default=20270317, help="draws them, where they are not all")
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        swept = sweep(Path(folder), share=given.share, seed=given.seed)
    said = {"seed": given.seed, "share": given.share, "seconds": round(time.monotonic() - started), **swept.document()}
    given.summary.write_text(json.dumps(said, indent=1) + "\n")
    print(f"{said['faults']:,} faults, {len(swept.violations):,} violations")
    return 1 if swept.violations else 0


if __name__ == "__main__":
    os.fsync = lambda descriptor: None  # nothing here cuts the power
    looks.APART = settling.APART = timedelta(0)  # no second look at a file needs two seconds
    raise SystemExit(main())
