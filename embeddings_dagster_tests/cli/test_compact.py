"""`embeddings index compact`, on a project that was run: what it says, and that a stop keeps what is whole."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from embeddings_dagster.index import Generations
from embeddings_dagster.settings import load_settings
from embeddings_dagster.store import Store
from embeddings_dagster_tests.cli.command import environment
from embeddings_dagster_tests.cli.conftest import Command


def answer(command: Command, *arguments: str) -> Any:
    said = command(*arguments, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_dead_rows_are_left_behind_and_it_says_so(project: Path, command: Command) -> None:
    nothing = answer(command, "index", "compact")
    assert [(each["model"], each["merges"], each["finished"]) for each in nothing] == [
        ("clip", 0, True),
        ("dino", 0, True),
    ]
    for name in ("pizza", "dog"):
        (project / "pics" / f"{name}.png").unlink()
    assert command("run").code == 0
    before = command("search", "--id", "pics:banana.png", "--model", "dino", "--json").out
    [report] = answer(command, "index", "compact", "--model", "clip", "--max-seconds", "60")
    assert (report["model"], report["rows"], report["merged"], report["dropped"]) == ("clip", 3, 1, 2)
    assert (report["segments_before"], report["segments_after"], report["finished"]) == (1, 1, True)
    assert report["bytes_after"] < report["bytes_before"]
    late = command("index", "compact", "--max-seconds", "0")
    assert late.code == 0
    assert "not finished; compact again to go on" in late.out
    shown = command("index", "compact")
    assert shown.code == 0
    lines = {line.split()[0]: line for line in shown.out.splitlines()}
    assert lines["dino"].split()[:5] == ["dino", "3", "1", "→", "1"]
    assert "generation 3" in shown.err
    after = command("search", "--id", "pics:banana.png", "--model", "dino", "--json").out
    hits = [[(hit["image_id"], hit["score"]) for hit in json.loads(said)["hits"]] for said in (before, after)]
    assert hits[0] == hits[1]
    assert len(hits[0]) == 2
    assert command("index", "rollback", "--model", "clip").code == 0
    assert "pinned by a rollback" in command("index", "compact").out
    assert command("verify").code == 0


def test_a_model_that_is_not_there_is_named(project: Path, command: Command) -> None:
    said = command("index", "compact", "--model", "clap")
    assert said.code == 1
    assert "no model 'clap' in the settings (there: clip, dino)" in said.err


def test_without_an_index_there_is_nothing_to_merge(tmp_path: Path, command: Command, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("init").code == 0
    said = command("index", "compact")
    assert said.code == 0
    assert said.out.count("no index yet") == 2


STOPPED = """
import os, signal, sys
from embeddings_dagster.cli import main
from embeddings_dagster.stages import compact
commit = compact.Generations.commit
def committed(*given):
    made = commit(*given)
    os.kill(os.getpid(), signal.SIGINT)
    return made
compact.Generations.commit = committed
main(["index", "compact"])
"""


def test_ctrl_c_keeps_the_merges_that_are_whole(project: Path, command: Command) -> None:
    """It comes while the first model's only merge is being committed; the second model is not begun."""
    for name in ("pizza", "dog"):
        (project / "pics" / f"{name}.png").unlink()
    assert command("run").code == 0
    done = subprocess.run(
        [sys.executable, "-c", STOPPED], cwd=project, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (130, ""), done.stderr
    assert done.stderr.splitlines()[-1] == "stopped on request; what was whole is committed, run again to go on"
    settings = load_settings(project / "embeddings.yaml")
    store = Store.open(settings.data_root, settings.cache_root)
    newest = {}
    for model in ("clip", "dino"):
        [fp12] = store.files.folders(f"indexes/{model}")
        newest[model] = max(Generations(store, model, fp12).numbers())
    assert newest == {"clip": 3, "dino": 2}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
