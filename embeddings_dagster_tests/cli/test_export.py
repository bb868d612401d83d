"""`export`: the files of the old scripts, as a person asks for them."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster_tests.cli.command import COMMAND, environment, run
from embeddings_dagster_tests.cli.conftest import NAMES, Command


def test_vectors_of_a_run_are_exported(project: Path, command: Command) -> None:
    said = command("export", "npy", "--source", "pics", "--out", "pics.npy")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "exported 5 vectors of 128 numbers, checked:"
    assert [line.split()[0] for line in lines[1:]] == ["pics.npy", "pics_ids.json", "pics_info.json"]
    assert "clip vectors: 5 of 5" in said.err
    assert "generation 1" in said.err
    vectors = np.load("pics.npy", mmap_mode="r")
    ids = json.loads(Path("pics_ids.json").read_text())
    assert ids == NAMES
    hits = json.loads(command("search", "--id", "pics:pizza.png", "--json", "-k", "4").out)["hits"]
    scores = vectors @ vectors[ids.index("pizza.png")]
    assert {hit["image_id"]: pytest.approx(hit["score"], abs=1e-5) for hit in hits} == {
        f"pics:{name}": score for name, score in zip(ids, scores, strict=True) if name != "pizza.png"
    }


def test_each_format_goes_by_default_where_its_source_and_model_say(project: Path, command: Command) -> None:
    for format in ("npy", "json", "faiss"):
        report = json.loads(command("export", format, "--model", "dino", "--json").out)
        assert (report["format"], report["model"], report["rows"], report["sources"]) == (format, "dino", 5, ["pics"])
        assert {Path(file["path"]).parent for file in report["files"]} == {project / "data/exports/pics/dino"}
    assert command("verify").code == 0
    said = command("export", "faiss", "--model", "dino")
    assert "checked, recall@10 1.000:" in said.out
    assert "data/exports/pics/dino/hnsw_dino_192.faiss (" in said.out


def test_conditions_and_batches_select(project: Path, command: Command) -> None:
    report = json.loads(command("export", "npy", "--where", "location~pizza", "--out", "out", "--json").out)
    assert report["rows"] == 1
    assert command("export", "npy", "--batch", "pics__000001", "--out", "out").code == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["npy", "--source", "nowhere"], "no source 'nowhere'"),
        (["npy", "--model", "clop"], "no model 'clop'"),
        (["npy", "--batch", "pics__9"], "no batch 'pics__9'"),
        (["npy", "--where", "brnd=Acme"], "no field 'brnd'"),
        (["json", "--where", "width=1"], "holds no picture of width=1"),
        (["faiss", "--out", "data"], "lies in the store"),
        (["npy", "--out", "x.faiss"], "is not the name of a .npy file"),
        (["npy", "--out", "embeddings.yaml"], "is a file; name a folder"),
        (["json", "--out", "mine.json"], "overwrite it with --force"),
    ],
)
def test_what_cannot_be_is_one_line_that_says_so(
    project: Path, command: Command, arguments: list[str], reason: str
) -> None:
    Path("mine.json").write_text("mine")
    before = sorted(project.rglob("*.*"))
    said = command("export", *arguments)
    assert (said.code, said.out) == (1, "")
    assert reason in said.err
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert sorted(project.rglob("*.*")) == before
    assert Path("mine.json").read_text() == "mine"


def test_before_the_first_run_it_says_what_to_do(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command("init")
    said = command("export", "npy")
    assert said.code == 1
    assert "make one with `embeddings run`" in said.err


def test_force_overwrites(project: Path, command: Command) -> None:
    Path("mine.json").write_text("mine")
    assert command("export", "json", "--out", "mine.json", "--force").code == 0
    assert len(json.loads(Path("mine.json").read_text())) == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_leaves_nothing(project: Path, number: signal.Signals) -> None:
    """The lock is held by somebody else, so it waits when the signal comes."""
    from filelock import FileLock

    (project / "out").mkdir()
    assert run("export", "npy", "--out", "out", cwd=project).returncode == 0
    (lock,) = (project / "data" / "cache" / "locks").glob("exports-*")
    shutil.rmtree(project / "out")
    with FileLock(lock):
        running = subprocess.Popen(
            [COMMAND, "export", "npy", "--out", "out"],
            cwd=project,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert running.stderr is not None
        assert "another process is at work on it" in running.stderr.readline()
        running.send_signal(number)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped on request" in err
    assert "Traceback" not in err
    assert not (project / "out").exists()
