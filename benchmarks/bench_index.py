"""What an index of a hundred thousand vectors costs to build, keep, open and ask, and how much it finds.

Every step is a process of its own (see `index_steps.py`), and its figures go into WORK/index.json at once: a call that
is interrupted goes on where it was, and the report is made of all that is there.

    python benchmarks/bench_index.py                  100,000 vectors, half an hour: docs/performance/index.md
    python benchmarks/bench_index.py --million        a million too, once: an hour more, and 12 GB of disk
    python benchmarks/bench_index.py --report         the report, of what was measured
    python benchmarks/bench_index.py --again contest  measure a step again
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from index_report import report

HERE = Path(__file__).resolve().parent
REPORT = HERE.parent / "docs" / "performance" / "index.md"
WORK = HERE.parent / "build" / "bench_index"
STEPS = ("fill", "build", "contest", "filters", "opening", "one_more", "one_changed", "one_more", "one_changed",
         "one_more", "one_changed", "service", "compact")  # fmt: skip
MILLION = ("fill", "build", "opening", "contest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--again", nargs="+", default=[], choices=sorted(set(STEPS)))
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--out", type=Path, default=REPORT)
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    if not options.report:
        measure(work, "small", options.rows, STEPS, options.again)
        if options.million:
            measure(work, "million", 10 * options.rows, MILLION, options.again)
    text = report(_results(work))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(text)


def measure(work: Path, project: str, rows: int, steps: tuple[str, ...], again: list[str]) -> None:
    """Do the steps that have not been done; the figures of one that is repeated are a list."""
    for number, step in enumerate(steps):
        key = f"{project}/{number:02}-{step}"
        results = _results(work)
        if key in results["steps"] and step not in again:
            continue
        print(f"{project}: {step}, {rows:,} rows", flush=True)
        results["steps"][key] = child(step, work, project, rows)
        results["rows"][project] = rows
        _save(work, results)


def child(step: str, work: Path, project: str, rows: int) -> object:
    """The figures of one step."""
    command = [sys.executable, str(HERE / "index_steps.py"), step, str(work), project, str(rows)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "DAGSTER_HOME": str(work)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{step}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _results(work: Path) -> dict:
    path = work / "index.json"
    return json.loads(path.read_text()) if path.exists() else {"steps": {}, "rows": {}}


def _save(work: Path, results: dict) -> None:
    (work / "index.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
