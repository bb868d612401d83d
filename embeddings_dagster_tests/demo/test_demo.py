"""`embeddings demo`, as it is typed: four sources, twenty questions, a picture, a word; a second encodes nothing."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from embeddings_dagster_tests.cli.command import environment, run

SOURCES = ("emoji", "shop", "fashion", "comics")
ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
SEARCH_PAGE = ROOT / "docs" / "search.md"
# Types commands one after another in one process, so that models are loaded once; prints what each said as JSON.
TYPE_ALL = """
import contextlib, io, json, re, sys
from embeddings_dagster.cli import main
said, after = [], ""
for arguments in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main([after if each == "CURSOR" else each for each in arguments])
        except SystemExit as end:
            code = end.code
    after = json.loads(out.getvalue())["after"] if "--json" in arguments else ""
    said.append([code, out.getvalue()])
json.dump(said, sys.stdout)
"""


def without_seconds(line: str) -> tuple[str, ...]:
    """A line's words, less the seconds at its end: the one thing that differs from machine to machine."""
    return tuple(re.sub(r"\s\d+\.\d$", "", line.rstrip()).split())


def every_command_of_the_search_page_runs(folder: Path) -> None:
    """On the demo's project, as it is after a run: to run it twice would take a minute."""
    (folder / "data").symlink_to(ROOT / "data")
    page = SEARCH_PAGE.read_text()
    blocks = {kind: re.findall(rf"```{kind}\n(.*?)```", page, flags=re.DOTALL) for kind in ("sh", "python", "text")}
    commands = [shlex.split(line) for block in blocks["sh"] for line in block.splitlines()]
    [shown] = blocks["text"]
    typed, *lines = shown.splitlines()
    commands.append(shlex.split(typed.removeprefix("$ ")))
    answers = in_process(TYPE_ALL, folder / "demo", json.dumps([arguments[1:] for arguments in commands]))
    said = json.loads(answers)
    for arguments, (code, out) in zip(commands, said, strict=True):
        assert not code, arguments
        assert any(f"{source}:" in out for source in SOURCES), f"{arguments} finds nothing"
    pages = [{hit["image_id"] for hit in json.loads(out)["hits"]} for _, out in said if out.startswith("{")]
    assert [len(each) for each in pages] == [5]
    printed = {tuple(line.split()) for line in said[-1][1].replace(f"{ROOT}/", "").splitlines()}
    assert {tuple(line.split()) for line in lines} <= printed, "what the page shows is what is printed"
    in_process("\n".join(blocks["python"]), folder / "demo", "")


def in_process(code: str, folder: Path, given: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(PYTHONPATH=os.pathsep.join(sys.path)), input=given,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


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
    precise = re.findall(r"^(.+?)  +(\d+)% of (\d+)  ", first.stdout, flags=re.MULTILINE)
    assert len(precise) == 20
    assert ('"cat" minus "lion"', "100", "4") in precise
    assert ("a picture of pizza, clip=.6 dino=.4", "100", "2") in precise
    mean = re.search(r"^(\d+)% on average; 20 of 20 as good as expected$", first.stdout, flags=re.MULTILINE)
    assert mean, "every search reaches its floor"
    assert int(mean[1]) >= 85
    assert re.search(r"^\s*1  1\.000  emoji:food/pizza\.png", first.stdout, flags=re.MULTILINE), (
        "a picture finds itself"
    )
    assert re.search(r"^ *\d+\.\d+  shop:5002  +Red wine", first.stdout, flags=re.MULTILINE), "found by a word"
    assert "make ui" in first.stdout
    printed = {without_seconds(line) for line in (first.stdout + first.stderr).splitlines()}
    [shown] = re.findall(r"```text\n(.*?)```", README.read_text(), flags=re.DOTALL)
    for line in shown.splitlines():
        assert line == "…" or without_seconds(line) in printed, f"the README shows {line!r}"
    every_command_of_the_search_page_runs(tmp_path)
    second = run("demo", cwd=tmp_path)
    assert second.returncode == 0
    assert "nothing changed" in second.stdout
    assert "clip_embeddings" not in second.stdout
    assert sorted(each.name for each in (tmp_path / "demo").iterdir()) == [
        ".dagster", "data", "embeddings.yaml", "products.csv",
    ]  # fmt: skip
