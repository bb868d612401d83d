"""What is printed and written gives no commands: to a terminal, a spreadsheet, a browser, or a reader's eye."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster.cli.look import FORMULA, safe_cell
from embeddings_dagster.cli.terminal import Column, note, say, say_json, say_table
from embeddings_dagster.defs.metadata import failure_table
from embeddings_dagster.errors import CONTROL, BadRecord
from embeddings_dagster.sources.addresses import shown
from embeddings_dagster.store import Failure
from embeddings_dagster_tests.security.registry import PACKAGE

TURNED = "photo\u202egpj.exe"  # read as `photoexe.jpg`
COMMANDS = ("\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\x07", "\b\b\b", "\r", "\u2066", "\u200f", TURNED)


@pytest.mark.parametrize("text", COMMANDS)
def test_a_terminal_gets_no_commands(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"a{text}b")
    note(f"a{text}b")
    say_table([Column(text)], [[text]], title=text)
    say_json({"title": text, text: 1})
    out, err = capsys.readouterr()
    assert not CONTROL.search(out + err)


def test_json_says_the_same_whatever_was_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"title": "".join(COMMANDS), "name": "ﷺ é 日本"}
    say_json(value)
    assert json.loads(capsys.readouterr().out) == value


@pytest.mark.parametrize("text", COMMANDS)
def test_no_error_carries_a_command_wherever_it_is_shown(text: str) -> None:
    assert str(BadRecord("tab\tand\nline stay")) == "tab\tand\nline stay"
    assert not CONTROL.search(str(BadRecord(f"a{text}b")))


@pytest.mark.parametrize(
    "cell", ["=cmd|' /C calc'!A0", "+1+cmd|'x'!A", "-2+3", "@SUM(1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")']
)
def test_a_cell_is_never_a_formula(cell: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow([safe_cell(cell)])
    (row,) = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert not row[0].startswith(FORMULA)
    assert row[0] == f"'{cell}"


@given(st.text())
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_any_text_is_a_cell_that_reads_back(text: str) -> None:
    safe = safe_cell(text)
    assert isinstance(safe, str)
    assert not safe.startswith(FORMULA)
    assert safe in (text, f"'{text}")


def test_metadata_shows_what_strangers_wrote_as_text() -> None:
    hostile = "<img src=x onerror=alert(1)> [x](javascript:alert(1))"
    failure = Failure(f"art:{hostile}", 0, "h", "raw_images", "BadRecord", hostile, False, datetime.now(UTC))
    table = failure_table((failure,))
    assert table.records[0].data["message"] == hostile, "a cell of a table, which the UI shows as it stands"


def test_markdown_in_metadata_holds_pictures_of_our_own_alone() -> None:
    for path in (PACKAGE / "defs").glob("*.py"):
        for line in path.read_text().splitlines():
            assert ".md(" not in line or "(data:image/" in line, f"{path.name}: {line.strip()}"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://anna:pa55@example.com/a.png", "https://example.com/a.png"),
        ("https://example.com/a.png?X-Amz-Signature=abc&w=3", "https://example.com/a.png?X-Amz-Signature=…&w=3"),
        ("https://example.com/a.png?%73ig=abc", "https://example.com/a.png?%73ig=…"),
        ("https://example.com/a.png?pass=abc;w=3", "https://example.com/a.png?pass=…;w=3"),
        ("https://example.com/a.png#access_token=abc", "https://example.com/a.png#access_token=…"),
        ("https://example.com/a.png?w=3&h=4", "https://example.com/a.png?w=3&h=4"),
        ("https:\\\\anna:pa55@example.com/a.png", "https:\\\\example.com/a.png"),
        ("https://example.com/@anna/a@2x.png", "https://example.com/@anna/a@2x.png"),
    ],
)
def test_an_address_is_told_without_what_opens_it(url: str, told: str) -> None:
    assert shown(url) == told


def test_nothing_else_writes_csv_of_strangers() -> None:
    writers = [
        path.name
        for path in PACKAGE.rglob("*.py")
        if "csv.writer" in path.read_text() or "DictWriter" in path.read_text()
    ]
    assert sorted(writers) == ["comics.py", "look.py"], "another writer of CSV uses `safe_cell`, and is tried here"
