"""docs/reliability.md names a test for each promise, each of these is there, and its figures tell of no violation."""

import re
from pathlib import Path

from embeddings_dagster_tests.test_security_page import listed

TESTS = Path(__file__).resolve().parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text()
PROMISES, _, REST = PAGE.partition("## What is not promised")
FIGURES = REST.partition("<!-- figures: tools/measure_reliability.py -->")[2].partition("<!-- end of figures -->")[0]
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def test_every_promise_names_a_test() -> None:
    lines = [line for line in PROMISES.splitlines() if line.startswith("- ")]
    assert len(lines) >= 30
    assert [line for line in lines if not NAMED.search(line)] == []


def test_every_test_that_is_named_is_there() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) >= 70
    assert [f"{path}::{test}" for path, test in named if test not in listed(TESTS / path)] == []


def test_the_machines_found_nothing() -> None:
    heading, _, *rows = [
        line.strip("| ").split(" | ") for line in FIGURES.partition("###")[0].splitlines() if "|" in line
    ]
    assert heading == ["machine", "what it did", "CPU-seconds", "seed", "violations"]
    assert [(row[0], row[-1]) for row in rows] == [
        (f"`{name}`", "none") for name in ("torture", "faults", "damage", "security")
    ]
