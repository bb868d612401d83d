"""`embeddings demo`, as it is typed: four sources, twenty questions, a picture, a word; a second encodes nothing."""

import re
from pathlib import Path

from embeddings_dagster_tests.cli.command import run

SOURCES = ("emoji", "shop", "fashion", "comics")
README = Path(__file__).resolve().parents[2] / "README.md"


def without_seconds(line: str) -> tuple[str, ...]:
    """A line's words, less the seconds at its end: the one thing that differs from machine to machine."""
    return tuple(re.sub(r"\s\d+\.\d$", "", line.rstrip()).split())


def test_the_demo_finds_its_pictures_and_a_second_one_encodes_nothing(tmp_path: Path) -> None:
    first = run("demo", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    table = [line.split() for line in first.stdout.splitlines()]
    counts = {line[0]: tuple(map(int, line[1:5])) for line in table if line and line[0] in SOURCES}
    assert list(counts) == list(SOURCES)
    for total, processed, skipped, failed in counts.values():
        assert (total, skipped) == (processed + failed, 0)
    assert {source for source, (*_, failed) in counts.items() if failed} == {"emoji", "shop"}, "broken on purpose"
    answered = re.search(r"^(\d+) of 20 in the first 3$", first.stdout, flags=re.MULTILINE)
    assert answered
    assert int(answered[1]) >= 18
    assert re.search(r"^\s*1  1\.000  emoji:food/pizza\.png", first.stdout, flags=re.MULTILINE), (
        "a picture finds itself"
    )
    assert re.search(r"^ *\d+\.\d+  shop:5002  +Red wine", first.stdout, flags=re.MULTILINE), "found by a word"
    assert "make ui" in first.stdout
    printed = {without_seconds(line) for line in (first.stdout + first.stderr).splitlines()}
    [shown] = re.findall(r"```text\n(.*?)```", README.read_text(), flags=re.DOTALL)
    for line in shown.splitlines():
        assert line == "…" or without_seconds(line) in printed, f"the README shows {line!r}"
    second = run("demo", cwd=tmp_path)
    assert second.returncode == 0
    assert "nothing changed" in second.stdout
    assert "clip_embeddings" not in second.stdout
    assert sorted(each.name for each in (tmp_path / "demo").iterdir()) == [
        ".dagster", "data", "embeddings.yaml", "products.csv",
    ]  # fmt: skip
