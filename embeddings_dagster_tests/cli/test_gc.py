"""`embeddings gc` in a project that was run: what goes, what is said of it, and that everything goes on afterwards."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
import typer

from embeddings_dagster.cli.gc import duration_of
from embeddings_dagster.defs import tags
from embeddings_dagster.store import Versions
from embeddings_dagster.store.files_local import LocalFiles
from embeddings_dagster.store.litter import KINDS
from embeddings_dagster_tests.cli.conftest import Command
from embeddings_dagster_tests.store.version_one import LAYOUTS, turn_back


@dg.job
def some_job() -> None:
    """A job to have runs of."""


def tree(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def kept(project: Path) -> list[str]:
    """The files of the store, without what is derived."""
    return [path for path in tree(project / "data") if not path.startswith(("cache/", "exports/", "image_cache/"))]


@pytest.fixture
def changed(project: Path, command: Command) -> Path:
    """The project after another run: a picture went, and one came."""
    (project / "pics" / "banana.png").rename(project / "pics" / "fruit.png")
    assert command("run", "--allow-removals").code == 0
    return project


def hits(command: Command) -> list[object]:
    return list(json.loads(command("search", "--image", "pics/pizza.png", "--json").out)["hits"])


def test_a_dry_run_says_what_would_go_and_afterwards_everything_is_as_it_was(changed: Path, command: Command) -> None:
    found = hits(command)
    assert "nothing to take" in command("gc").out, "by default nothing of this week"
    before, kept_before = tree(changed / "data"), kept(changed)
    answer = command("gc", "--older-than", "0", "--keep", "1", "--dry-run", "--json")
    assert answer.code == 0
    said = json.loads(answer.out)
    assert (said["dry_run"], said["older_than_seconds"], said["keep"]) == (True, 0, 1)
    assert set(said["kinds"]) == {"version", "superseded"}
    assert {kind: each["what"] for kind, each in said["kinds"].items()}.items() <= KINDS.items()
    assert said["files"] == len(said["taken"]) == sum(each["files"] for each in said["kinds"].values())
    assert said["bytes"] == sum((changed / "data" / each["path"]).stat().st_size for each in said["taken"])
    after = tree(changed / "data")
    assert {path for path in before.keys() ^ after.keys() if not path.startswith("cache/")} == set()
    assert {path: after[path] for path in kept(changed)} == {path: before[path] for path in kept(changed)}

    done = json.loads(command("gc", "--older-than", "0", "--keep", "1", "--json").out)
    assert done["taken"] == said["taken"]
    assert set(kept(changed)) == {path for path in kept_before if path not in {each["path"] for each in said["taken"]}}
    assert "everything is as it was committed" in command("verify").out
    assert hits(command) == found
    kept_now = kept(changed)
    assert command("run").code == 0
    assert kept(changed) == kept_now, "a run has nothing to do"


def test_a_batch_that_was_emptied_leaves_one_empty_version_of_each(project: Path, command: Command) -> None:
    for path in (project / "pics").iterdir():
        path.unlink()
    assert command("run", "--allow-removals").code == 0
    assert command("gc", "--older-than", "0", "--keep", "1").code == 0
    rows = [path for path in kept(project) if path.startswith(("raw_images", "rgb_images", "embeddings"))]
    assert {Path(path).suffix for path in rows} == {".json"}
    assert len(rows) == 4
    assert command("verify").code == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_project_of_format_1_is_run_folded_and_collected(project: Path, command: Command, layout: str) -> None:
    assert turn_back(project / "data", LAYOUTS[layout]) > 8
    shutil.rmtree(project / "data" / "cache")
    assert command("verify").code == 0
    assert command("run").code == 0
    assert '"format_version": 1' in (project / "data/raw_images/pics__000001/manifests/00000001.json").read_text()
    shutil.copy(project / "pics" / "pizza.png", project / "pics" / "more.png")
    (project / "pics" / "banana.png").unlink()
    assert command("run", "--allow-removals").code == 0
    assert command("search", "--image", "pics/more.png", "-k", "1").code == 0
    assert command("gc", "--older-than", "0", "--keep", "1").code == 0
    assert command("verify").code == 0
    formats = {json.loads((project / "data" / path).read_text())["format_version"]
               for path in kept(project) if path.endswith(".json") and not path.startswith("models/")}  # fmt: skip
    assert formats == {2}


def test_a_short_age_is_refused_while_a_run_is_under_way_and_the_dead_are_ended(
    project: Path, command: Command
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    home = str(project / ".dagster")
    with dg.DagsterInstance.from_config(home) as instance:
        dead = {tags.HOST: socket.gethostname(), tags.PROCESS: f"{ended.pid}:1"}
        gone = instance.create_run_for_job(some_job, tags=dead, status=dg.DagsterRunStatus.STARTED)
        living = instance.create_run_for_job(some_job, status=dg.DagsterRunStatus.STARTED)
        answer = command("gc", "--older-than", "0")
        assert answer.code == 1
        assert f"run {living.run_id[:8]} is under way" in answer.err
        assert instance.get_run_by_id(gone.run_id).status == dg.DagsterRunStatus.FAILURE
        assert command("gc", "--older-than", "0", "--dry-run").code == 0, "looking is no harm"
        assert command("gc").code == 0
        instance.report_run_failed(living)
    assert command("gc", "--older-than", "0").code == 0


def as_of_another_fingerprint(root: Path, folder: Path) -> None:
    """Let manifests say that they belong where they were copied to."""
    files = LocalFiles(root)
    for path in folder.glob("*/manifests/*.json"):
        body = json.loads(path.read_bytes())
        body |= {"dataset": folder.relative_to(root).as_posix(), "fingerprint": folder.name + body["fingerprint"][12:]}
        path.unlink()
        Versions(files, path.parent.relative_to(root).as_posix(), "chain").create(body["version"], body)


def test_vectors_of_a_former_model_are_told_of_and_go_when_asked_for(project: Path, command: Command) -> None:
    before = json.loads(command("model", "list", "--json").out)
    former = next(each for each in before if each["name"] == "dino")["fingerprint"][:12]
    other = project / "data" / "embeddings" / "dino" / ("f" * 12)
    shutil.copytree(project / "data" / "embeddings" / "dino" / former, other)
    as_of_another_fingerprint(project / "data", other)
    told = json.loads(command("gc", "--json").out)["former"]
    assert [(each["model"], each["fp12"], each["files"]) for each in told] == [
        ("dino", "f" * 12, sum(path.is_file() for path in other.rglob("*")))
    ]
    assert "--former-models takes them" in command("gc").err
    assert other.exists()
    answer = command("gc", "--former-models", "--json")
    assert json.loads(answer.out)["files"] == 0, "it is as young as the rest"
    then = time.time() - 8 * 24 * 3600
    for path in other.rglob("*"):
        os.utime(path, (then, then))
    answer = json.loads(command("gc", "--former-models", "--json").out)
    assert set(answer["kinds"]) == {"former"}
    assert not other.exists()
    assert (project / "data" / "embeddings" / "dino" / former).exists()
    assert command("verify").code == 0


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("7d", timedelta(days=7)), ("12h", timedelta(hours=12)), ("30m", timedelta(minutes=30)), ("0", timedelta(0)),
        ("45 s", timedelta(seconds=45)), ("2W", timedelta(weeks=2)), ("1.5d", timedelta(hours=36)),
    ],
)  # fmt: skip
def test_durations(text: str, meant: timedelta) -> None:
    assert duration_of(text) == meant


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7 days", "1e9d", "nan", "inf", "999999999w", "٣d" * 40])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        duration_of(text)


def test_an_age_that_is_none_is_said_in_a_line(project: Path, command: Command) -> None:
    answer = command("gc", "--older-than", "soon")
    assert answer.code == 2
    assert "write 7d, 12h, 30m or 0" in answer.err
    assert command("gc", "--keep", "0").code == 2
