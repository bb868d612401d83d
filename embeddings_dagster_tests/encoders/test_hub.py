"""Models of the hub, in processes of their own: its client reads the environment when it is imported."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from embeddings_dagster.encoders import identify
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders import tiny
from embeddings_dagster_tests.encoders.hub_server import HubServer

REPOSITORY = "acme/clip-tiny"
OLD, NEW = "a" * 40, "b" * 40

IDENTIFY = """
import json, sys
from embeddings_dagster.encoders import identify
from embeddings_dagster.errors import ModelError
from embeddings_dagster.settings_models import ModelSettings
name, revision, download = sys.argv[1:]
model = ModelSettings(kind="clip", model=name, revision=revision or None)
try:
    found = identify(model, download=download == "yes")
    print(json.dumps({"fingerprint": found.fingerprint, **found.details}))
except ModelError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


class Machine:
    """Somewhere with a hub cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def identify(
        self, hub: str, name: str = REPOSITORY, revision: str = "", *, download: str = "yes", **more: str
    ) -> dict[str, str]:
        here = {"HF_HOME": str(self.folder), "HF_ENDPOINT": hub, "HF_HUB_DISABLE_PROGRESS_BARS": "1", **more}
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        command = [sys.executable, "-c", IDENTIFY, name, revision, download]
        done = subprocess.run(command, env={**kept, **here}, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        answer: dict[str, str] = json.loads(done.stdout)
        return answer


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


@pytest.fixture
def commits(tmp_path: Path) -> dict[str, Path]:
    for seed, commit in enumerate((OLD, NEW)):
        tiny.save_clip(tmp_path / commit, seed=seed)
        (tmp_path / commit / "pytorch_model.bin").write_bytes(b"a pickle")
        (tmp_path / commit / "README.md").write_text("a card")
    return {commit: tmp_path / commit for commit in (OLD, NEW)}


def test_a_pinned_revision_is_fetched_once_and_serves_without_the_hub(
    machine: Machine, commits: dict[str, Path]
) -> None:
    with HubServer(REPOSITORY, commits, {"main": NEW}) as hub:
        before = machine.identify(hub.url, revision=OLD, download="no")
        assert before["error"] == "ModelUnavailable"
        assert "is not on this machine yet; a run fetches it" in before["message"]
        assert hub.fetched == []
        first = machine.identify(hub.url, revision=OLD)
        names = {"config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"}
        assert set(hub.fetched) == {*names, "model.safetensors"}
        assert hub.fetched[-1] == "model.safetensors"
    assert first["revision"] == OLD
    assert first["model"] == REPOSITORY
    folder = ModelSettings(kind="clip", model=str(commits[OLD]))
    assert first["weights"] == identify(folder).details["weights"]
    assert machine.identify(hub.url, revision=OLD) == first
    assert machine.identify(hub.url, revision=OLD, download="no") == first


def test_a_branch_stays_at_the_commit_that_was_fetched(machine: Machine, commits: dict[str, Path]) -> None:
    with HubServer(REPOSITORY, commits, {"main": OLD, "refs/pr/7": NEW}) as hub:
        first = machine.identify(hub.url)
        assert first["revision"] == OLD
        hub.refs["main"] = NEW
        assert machine.identify(hub.url) == first
        assert machine.identify(hub.url, revision="refs/pr/7")["revision"] == NEW


def test_a_download_that_was_cut_short_is_completed(machine: Machine, commits: dict[str, Path]) -> None:
    with HubServer(REPOSITORY, commits, {"main": NEW}) as hub:
        whole = machine.identify(hub.url)
        (weights,) = machine.folder.rglob("snapshots/*/model.safetensors")
        weights.resolve().unlink()
        weights.unlink()
        assert "error" in machine.identify(hub.url, download="no")
        hub.fetched.clear()
        assert machine.identify(hub.url) == whole
        assert hub.fetched == ["model.safetensors"]


def test_what_the_hub_does_not_have_is_said(machine: Machine, commits: dict[str, Path]) -> None:
    (commits[NEW] / "model.safetensors").unlink()
    with HubServer(REPOSITORY, commits, {"main": NEW}) as hub:
        unknown = machine.identify(hub.url, "acme/other")
        assert unknown["error"] == "ModelUnavailable"
        assert "there is none of that name, or it needs a token (HF_TOKEN)" in unknown["message"]
        assert "it has no such revision; correct `revision`" in machine.identify(hub.url, revision="v9")["message"]
        pickled = machine.identify(hub.url)["message"]
        assert "lacks model.safetensors" in pickled
        assert "Name a `revision` of it that has safetensors" in pickled


def test_a_hub_out_of_reach_is_said_at_once_with_the_ways_around(machine: Machine) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        hub = f"http://127.0.0.1:{closed.getsockname()[1]}"
    started = time.monotonic()
    answer = machine.identify(hub)
    assert time.monotonic() - started < 20
    assert answer["error"] == "ModelUnavailable"
    assert "the model 'acme/clip-tiny' (revision main) cannot be had from the hub (ConnectError" in answer["message"]
    assert "`model: bundled:clip`" in answer["message"]
    assert "`model: ./folder`" in answer["message"]


def test_a_hub_that_never_answers_is_given_up(machine: Machine) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        started = time.monotonic()
        answer = machine.identify(f"http://127.0.0.1:{mute.getsockname()[1]}", HF_HUB_ETAG_TIMEOUT="1")
    assert time.monotonic() - started < 20
    assert "cannot be had from the hub (ReadTimeout" in answer["message"]


def test_offline_mode_is_respected(machine: Machine) -> None:
    assert "(OfflineModeIsEnabled" in machine.identify("http://127.0.0.1:9", HF_HUB_OFFLINE="1")["message"]
