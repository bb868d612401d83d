"""How fast pictures become vectors, against a loop written by hand, sentence-transformers and Daft; and what else it
costs: memory, orchestration, a second run.

Parts (see `encoding_parts.py`) are measured one after another; every figure goes into WORK/results.json at once, and
a call that is interrupted goes on where it was. The report is made of all that is there.

    python benchmarks/bench_encoding.py                           all, two hours on two cores: docs/performance.md
    python benchmarks/bench_encoding.py --full                    memory at 100,000 pictures too
    python benchmarks/bench_encoding.py --only committed-clip     some parts (names that begin so); --list names all
    python benchmarks/bench_encoding.py --report                  the report, of what was measured
    python benchmarks/bench_encoding.py --device cuda             the parts for a GPU
"""

import argparse
import dataclasses
import os
import shlex
import sys
from functools import partial
from pathlib import Path

from encoding_contestants import absent
from encoding_parts import Part, Sizes, parts
from encoding_report import report
from encoding_results import Results, child, chosen, measure

HERE = Path(__file__).resolve().parent
REPORT = HERE.parent / "docs" / "performance.md"
WORK = HERE.parent / "build" / "bench_encoding"
MEMORY, MEMORY_IN_FULL = "1000,10000", "1000,10000,100000"


def missing_extras() -> list[str]:
    """What is not installed, and so not measured; each with the remedy."""
    from embeddings_dagster.errors import MissingExtra

    return [str(MissingExtra(extra, package, purpose)) for package, (extra, purpose) in absent().items()]


def sizes_of(options: argparse.Namespace) -> Sizes:
    """What is asked for; what is not said depends on `--full` and the device."""
    memory = options.memory or (MEMORY_IN_FULL if options.full else MEMORY)
    threads = options.threads or (2 if options.device == "cpu" else os.cpu_count() or 2)
    return Sizes(
        work=options.work.absolute(),
        images=options.images,
        memory=tuple(int(each) for each in memory.split(",")),
        pictures=options.pictures,
        again=options.again,
        gpu=options.gpu_images,
        device=options.device,
        models=tuple(options.models.split(",")),
        inputs=tuple(options.inputs.split(",")),
        threads=threads,
    )


def wanted(sizes: Sizes, only: list[str], contestants: list[str]) -> list[Part]:
    """The parts whose names begin with one of `only`, with the contestants that were asked for."""
    found = [part for part in parts(sizes) if not only or any(part.name.startswith(each) for each in only)]
    return [dataclasses.replace(part, contestants=chosen(part.contestants, contestants)) for part in found]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="parts whose names begin so")
    parser.add_argument(
        "--contestant",
        action="append",
        default=[],
        metavar="NAME",
        help="only these, by name; compare only what had its turn together",
    )
    parser.add_argument("--list", action="store_true", help="name the parts and their contestants")
    parser.add_argument("--report", action="store_true", help="measure nothing, make the report of what there is")
    parser.add_argument("--anew", action="store_true", help="forget what was measured of these parts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=96, help="pictures a round, for the full-size models")
    parser.add_argument("--pictures", type=int, default=1024, help="for orchestration's share")
    parser.add_argument("--again", type=int, default=10_000, help="pictures, for a second run")
    parser.add_argument("--memory", help=f"pictures, for memory; default: {MEMORY}")
    parser.add_argument("--gpu-images", type=int, default=50_000, help="pictures a round, on a GPU")
    parser.add_argument("--full", action="store_true", help="memory at 100,000 pictures too")
    parser.add_argument("--models", default="clip,dino")
    parser.add_argument("--inputs", default="png,jpeg")
    parser.add_argument("--threads", type=int, help="that decode ahead of the model; default: 2, on a GPU one a core")
    parser.add_argument("--omp-threads", type=int, help="OMP_NUM_THREADS of all; default: as each library does")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--work", type=Path, default=WORK, help="inputs, models, stores and results: some GB")
    parser.add_argument("--out", type=Path, default=REPORT)
    return parser


def main() -> None:
    options = arguments().parse_args()
    notes = missing_extras()
    for note in notes:
        print(note, file=sys.stderr)
    asked = wanted(sizes_of(options), options.only, options.contestant)
    if options.list:
        for part in asked:
            print(part.name, *(each.name for each in part.contestants), sep="  ")
        return
    results = Results(options.work / "results.json")
    if not options.report:
        for part in asked:
            measure(part, results, partial(child, threads=options.omp_threads), rounds=options.rounds,
                    anew=options.anew, tell=partial(print, flush=True))  # fmt: skip
    command = shlex.join(["python", "benchmarks/bench_encoding.py", *(["--full"] if options.full else [])])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(report(results.parts, command, notes))
    print(options.out)


if __name__ == "__main__":
    main()
