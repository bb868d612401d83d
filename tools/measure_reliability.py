"""Makes the figures of docs/reliability.md: lets four machines loose on the project and counts what they did.

    python tools/measure_reliability.py [--small] [--keep FOLDER] [--only NAME…]

Each machine is a module of the tests, a process of its own (of `torture` one for each core), and can be run alone; what
they counted are JSON files in a folder, which is kept with --keep, and then used again for what is not named by --only.
A violation that was looked into, and was the machine's own mistake, may be moved by hand to a list `cleared` of its
file, with the reason: the page tells of it. Ends with 1 where one of them found a promise broken.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import date
from functools import reduce
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: tools/measure_reliability.py -->", "<!-- end of figures -->"
SEED = 20261129
KILLS = {False: 1000, True: 40}  # full size and small; shared among the cores
MACHINES: dict[str, tuple[list[str], list[str]]] = {  # the arguments of the full size, and of a small one
    "torture": ([], []),
    "faults": ([], ["--share", "0.05"]),
    "damage": (["--bits", "1000"], ["--bits", "20"]),
    "security": (["--examples", "5000"], ["--examples", "50"]),
}

Counted = Mapping[str, Any]


def main() -> int:
    """Run what is asked for, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="a few minutes; the page then says so")
    parser.add_argument("--keep", type=Path, help="where the JSON of each machine is kept")
    parser.add_argument(
        "--only", nargs="*", choices=MACHINES, default=list(MACHINES), help="run these, use what is kept"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = asked.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        for name in asked.only:
            run(name, asked.small, folder)
        counted = {name: gathered(folder, name) for name in MACHINES}
    write(figures(counted, small=asked.small))
    broken = [f"{name}: {each}" for name, said in counted.items() for each in said["violations"]]
    print(*broken, sep="\n", file=sys.stderr)
    return bool(broken)


def run(name: str, small: bool, folder: Path) -> None:
    """One machine; its summaries tell whether it found anything."""
    for old in folder.glob(f"{name}-*.json"):
        old.unlink()
    shares = (os.cpu_count() or 1) if name == "torture" else 1
    started = []
    for share in range(shares):
        arguments = list(MACHINES[name][small])
        if name == "torture":  # worlds have seeds of their own, one after the other
            arguments += ["--kills", str(-(-KILLS[small] // shares)), "--seed", str(SEED + share * 10**6)]
        summary = folder / f"{name}-{share}.json"
        command = [sys.executable, "-m", f"embeddings_dagster_tests.{name}", *arguments, "--summary", str(summary)]
        print(*command[1:], file=sys.stderr)
        started.append(subprocess.Popen(command, cwd=ROOT))
    for process in started:
        process.wait()


def gathered(folder: Path, name: str) -> Counted:
    """What the processes of a machine counted, added up; seeds are told one beside the other."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{name}-*.json"))]
    if not found:
        raise SystemExit(f"{folder} has no summary of {name}: it ended without one, or was never run")
    seeds = ", ".join(str(each["seed"]) for each in found)
    return {**reduce(added, found), "seed": seeds}


def added(one: Any, other: Any) -> Any:
    """Two summaries as one: numbers and lists are added, name by name."""
    if isinstance(one, dict):
        return {name: added(one[name], other[name]) if name in one and name in other else one.get(name, other.get(name))
                for name in {**one, **other}}  # fmt: skip
    return one + other


def figures(counted: Mapping[str, Counted], *, small: bool) -> str:
    """The part of the page that nobody writes by hand."""
    cores = os.cpu_count()
    size = "a small run, for a look only" if small else "the full size"
    head = f"Made on {date.today()} by `tools/measure_reliability.py` ({size}), {platform.machine()}, {cores} cores."
    parts = [head, _table(("machine", "what it did", "CPU-seconds", "seed", "violations"), _sums(counted))]
    parts += [f"Cleared, of `{name}`: {each}" for name, said in counted.items() for each in said.get("cleared", [])]
    for title, rows in TABLES.items():
        heading, columns, found = title, *rows(counted)
        parts += [f"### {heading}", _table(columns, found)]
    return "\n\n".join(parts)


def _sums(counted: Mapping[str, Counted]) -> list[tuple[object, ...]]:
    torture, faults, damage, security = (counted[name] for name in MACHINES)
    did = {
        "torture": f"{torture['kills']:,} kills ({torture['kills_at_moments']:,} at random moments, "
        f"{torture['kills_at_steps']:,} at named steps) in {torture['runs']:,} runs, {torture['changes']:,} changes of "
        f"inputs between",
        "faults": f"{faults['faults']:,} faults of storage, each followed by a look and a run without one",
        "damage": f"{damage['bits']:,} flipped bits and {damage['injuries']:,} other injuries, every one to be found",
        "security": f"{security['inputs']:,} hostile inputs to {security['parsers']} parsers",
    }
    return [
        (f"`{name}`", did[name], f"{said.get('cpu_seconds', said.get('seconds')):,.0f}", said["seed"], _none(said))
        for name, said in counted.items()
    ]


def _none(said: Counted) -> str:
    return f"{len(said['violations']):,}" if said["violations"] else "none"


def _kills(counted: Mapping[str, Counted]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    said = counted["torture"]
    return ("killed at", "times"), [(f"`{step}`", f"{count:,}") for step, count in said["kills_by_step"].items()]


def _commands(counted: Mapping[str, Counted]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    said = counted["torture"]
    kills = said["kills_by_command"]
    rows = [(f"`{name}`", f"{count:,}", f"{kills.get(name, 0):,}") for name, count in said["runs_by_command"].items()]
    return ("command", "run", "killed"), rows


def _faults(counted: Mapping[str, Counted]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    said = counted["faults"]
    rows = [
        (by[:-1], name, f"{count:,}")
        for by in ("errors", "operations", "scenarios")
        for name, count in said[by].items()
    ]
    return ("by", "", "faults"), rows


def _injuries(counted: Mapping[str, Counted]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    said = counted["damage"]
    others = said["injuries_by_kind"]
    rows = [(kind, f"{count:,}", f"{others.get(kind, 0):,}") for kind, count in said["bits_by_kind"].items()]
    return ("kind of file", "flipped bits", "emptied, cut, lengthened, zeroed"), rows


def _inputs(counted: Mapping[str, Counted]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    kinds = counted["security"]["kinds"]
    rows = [(name, f"{kind['inputs']:,.0f}", f"{kind['refused']:,.0f}") for name, kind in kinds.items()]
    return ("what was fed", "inputs", "refused by name"), rows


TABLES: dict[str, Callable[[Mapping[str, Counted]], tuple[tuple[str, ...], list[tuple[object, ...]]]]] = {
    "Kills by command": _commands,
    "Kills by step": _kills,
    "Faults of storage": _faults,
    "Damage": _injuries,
    "Hostile inputs": _inputs,
}


def _table(columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def write(text: str) -> None:
    """Put the figures between their marks."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    raise SystemExit(main())
