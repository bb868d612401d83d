"""docs/security.md names a test for each thing it says is done, and each of these tests is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()
DONE = PAGE.partition("## Pictures")[2].partition("## What is not done")[0]
NAMED = re.compile(r"`(embeddings_dagster_tests/[\w/]+\.py)::(\w+)`")


def listed(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.FunctionDef)}


def test_every_line_of_what_is_done_names_a_test() -> None:
    lines = [line for line in DONE.splitlines() if line.startswith("- ")]
    assert len(lines) >= 35
    assert [line for line in lines if not NAMED.search(line)] == []


def test_every_test_that_is_named_is_there() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) >= 40
    assert [f"{path}::{test}" for path, test in named if test not in listed(ROOT / path)] == []


def test_who_and_what_and_what_is_not_done_are_said() -> None:
    assert PAGE.count("\n| ") >= 7
    assert len(re.findall(r"^- \*\*", PAGE.partition("## What is not done")[2], re.MULTILINE)) >= 5
