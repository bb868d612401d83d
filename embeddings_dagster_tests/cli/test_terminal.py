"""What is printed: plain and uncut in a pipe, numbers that people can read."""

import io
import json
import sys
from datetime import UTC, datetime

import pytest

from embeddings_dagster.cli.progress import RunProgress
from embeddings_dagster.cli.terminal import Column, duration, say, say_json, say_table, show_anything, size


def test_a_piped_table_is_plain_and_cuts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    say_table([Column("name"), Column("count", right=True)], [(long, 1234567), ("b", None)], title="things [red]")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "things [red]"
    assert lines[2] == f"{long}  1,234,567"
    assert lines[3] == "b"


def test_text_is_taken_literally(capsys: pytest.CaptureFixture[str]) -> None:
    say("[bold]a[/bold] [/] :smile:")
    assert capsys.readouterr().out == "[bold]a[/bold] [/] :smile:\n"


def test_what_strangers_wrote_gives_the_terminal_no_commands(capsys: pytest.CaptureFixture[str]) -> None:
    say_table([Column("[/a]")], [("\x1b[31mred\x07",)], title="\x9bquestion")
    say("\x1b]0;title\x07")
    printed = capsys.readouterr().out
    assert "[/a]" in printed
    assert "\ufffd[31mred\ufffd" in printed
    assert set("\x1b\x07\x9b").isdisjoint(printed)


def test_a_terminal_that_lacks_a_letter_gets_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, shown in (("ascii", "caf\\xe9 \\u2013 \\udcff"), ("utf-8", "café – \\udcff")):
        written = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding=encoding))
        show_anything()
        say("café – \udcff")
        say_table([Column("a")], [("café – \udcff",)])
        sys.stdout.flush()
        first, _, cell = written.getvalue().decode(encoding).splitlines()
        assert (first, cell.rstrip()) == (shown, shown)
        before = written.tell()
        say_json({"name": "café – 🍕 \udcff"})
        sys.stdout.flush()
        assert json.loads(written.getvalue()[before:]) == {"name": "café – 🍕 \udcff"}


def test_json_takes_moments(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"é": datetime(2026, 1, 2, tzinfo=UTC)})
    assert capsys.readouterr().out == '{\n "é": "2026-01-02T00:00:00+00:00"\n}\n'
    with pytest.raises(TypeError, match="set has no place in JSON"):
        say_json({"a": set()})


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3725, "1 h 02 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (12_345, "12.3 kB"), (456_000_000, "456 MB"), (7.2e12, "7.2 TB")]
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    moments = iter([0.0, 1.0, 10.5, 11.0, 12.0])
    with RunProgress(clock=lambda: next(moments)) as progress:
        for done in (1, 2, 3, 4, 5):
            progress.progress("raw_images a__1", done * 1000, 5000)
        progress.log("a line [x]")
    assert capsys.readouterr().err.splitlines() == [
        "raw_images a__1: 3,000 of 5,000",
        "raw_images a__1: 5,000 of 5,000",
        "a line [x]",
    ]
