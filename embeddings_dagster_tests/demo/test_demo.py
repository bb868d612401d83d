"""`embeddings demo`, as it is typed: the table, twenty questions, one picture; a second one encodes nothing."""

import re
from pathlib import Path

from embeddings_dagster_tests.cli.command import run

README = Path(__file__).resolve().parents[2] / "README.md"


def without_seconds(line: str) -> tuple[str, ...]:
    """A line's words, less the seconds at its end: the one thing that differs from machine to machine."""
    return tuple(re.sub(r"\s\d+\.\d$", "", line.rstrip()).split())


def test_the_demo_finds_its_pictures_and_a_second_one_encodes_nothing(tmp_path: Path) -> None:
    first = run("demo", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    table = [line.split() for line in first.stdout.splitlines()]
    [source] = [line for line in table if line[:1] == ["emoji"]]
    total, processed, skipped, failed = map(int, source[1:5])
    assert (total, skipped, failed) == (processed + 1, 0, 1), "one picture is broken on purpose"
    answered = re.search(r"^(\d+) of 20 in the first 3$", first.stdout, flags=re.MULTILINE)
    assert answered
    assert int(answered[1]) >= 18
    assert re.search(r"^\s*1  1\.000  emoji:food/pizza\.png", first.stdout, flags=re.MULTILINE), (
        "a picture finds itself"
    )
    assert "make ui" in first.stdout
    printed = {without_seconds(line) for line in (first.stdout + first.stderr).splitlines()}
    [shown] = re.findall(r"```text\n(.*?)```", README.read_text(), flags=re.DOTALL)
    for line in shown.splitlines():
        assert line == "…" or without_seconds(line) in printed, f"the README shows {line!r}"
    second = run("demo", cwd=tmp_path)
    assert second.returncode == 0
    assert "nothing changed" in second.stdout
    assert "clip_embeddings" not in second.stdout
    assert sorted(each.name for each in (tmp_path / "demo").iterdir()) == [".dagster", "data", "embeddings.yaml"]
