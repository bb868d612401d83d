"""`model switch`, and what `status` and `model list` say while another model is built beside the one that serves."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from embeddings_dagster.search import SearchService
from embeddings_dagster.settings import load_settings
from embeddings_dagster.store import Store
from embeddings_dagster_tests.cli.conftest import SAMPLE, Command

SETTINGS = """\
batch_images: 30
sources:
  pics:
    kind: folder
    path: pics
models:
  look:
    kind: {kind}
    model: bundled:{kind}
    device: cpu
"""
BATCHES = ("pics__000001", "pics__000002")


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """60 pictures in two batches, for one model; nothing was run."""
    (tmp_path / "pics").mkdir()
    for file in [*sorted((SAMPLE / "food").glob("*.png"))[:30], *sorted((SAMPLE / "animals").glob("*.png"))[:30]]:
        shutil.copy2(file, tmp_path / "pics")
    monkeypatch.chdir(tmp_path)
    use("dino")
    return tmp_path


def use(kind: str) -> None:
    """Let the settings ask for another model."""
    Path("embeddings.yaml").write_text(SETTINGS.format(kind=kind))


def answer(command: Command, *arguments: str) -> Any:
    said = command(*arguments, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def fingerprints(command: Command) -> dict[str, str]:
    return {each["model"]: each["fingerprint"] for each in answer(command, "model", "list")}


def serving(command: Command) -> str:
    return next(each["model"] for each in answer(command, "model", "list") if each["serving"])


def line(text: str) -> str:
    return next(each for each in text.splitlines() if each.startswith("look: "))


def test_another_model_is_built_beside_the_old_one_and_takes_over_by_itself(look: Path, command: Command) -> None:
    assert command("run").code == 0
    use("clip")
    settings = load_settings(look / "embeddings.yaml")
    service = SearchService(settings, Store.open(settings.data_root, settings.cache_root))
    old, new = (fingerprints(command)[f"bundled:{kind}"] for kind in ("dino", "clip"))
    assert service.search(image_id="pics:banana.png").fingerprint == old
    assert line(command("status").out) == (
        f"look: {old[:12]} serves; {new[:12]} is being built: 0 of 2 batches, 0 %, neighbours not compared: fewer than "
        "50 pictures are in both yet"
    )

    assert command("run", "--batch", BATCHES[0]).code == 0
    [wanted] = [each for each in answer(command, "status")["models"] if each["wanted"]]
    change = wanted["changeover"]
    assert (wanted["fingerprint"], wanted["serving"], change["serving"], change["held"]) == (new, False, old, False)
    assert change["progress"] == {
        "batches": 2,
        "complete": 1,
        "encoded": 30,
        "rows": 60,
        "share": 0.5,
        "missing": ["1 of 2 batches not encoded yet (pics__000002)"],
    }
    said = command("model", "list")
    assert "is being built: 1 of 2 batches, 50 %" in line(said.out)
    assert "\n  1 of 2 batches not encoded yet (pics__000002)\n" in said.out
    service.refresh()
    assert service.search(image_id="pics:banana.png").fingerprint == old
    refused = command("model", "switch", "look")
    assert (refused.code, refused.out) == (1, "")
    assert f"{new[:12]} cannot serve look yet: 1 of 2 batches not encoded yet" in refused.err

    assert command("run").code == 0
    service.refresh()
    assert service.search("banana", k=1).fingerprint == new
    assert "look: " not in command("status").out
    assert serving(command) == "bundled:clip"

    use("dino")  # back again: nothing is to be encoded, and yet a run is to be made
    assert "is complete, and serves after the next run: 2 of 2 batches, 100 %" in line(command("status").out)
    assert command("run").code == 0
    assert serving(command) == "bundled:dino"


def test_a_switch_by_hand_holds_over_runs_until_it_is_released(look: Path, command: Command) -> None:
    command("run")
    use("clip")
    command("run")
    old, new = (fingerprints(command)[f"bundled:{kind}"] for kind in ("dino", "clip"))
    said = command("model", "switch", "look", old[:6])
    assert said.out == f"look: {old[:12]} serves now, instead of {new[:12]}\n"
    assert "held: " in said.err

    shown = line(command("status").out)
    assert f"{old[:12]} serves, held by hand; {new[:12]}, which the settings ask for, is complete: 2 of 2" in shown
    assert "neighbours overlap 0." in shown
    assert "(60 queries over 60 rows)" in shown
    assert answer(command, "run")["runs"] == [], "nothing is to be done, and no run is launched in vain"
    shutil.copy2(SAMPLE / "symbols" / "red-heart.png", look / "pics" / "zz.png")
    assert command("run").code == 0
    assert serving(command) == "bundled:dino"
    assert len(answer(command, "search", "--id", "pics:banana.png", "-k", "100")["hits"]) == 59

    assert answer(command, "model", "switch", "look", "--release")["switched"]
    assert serving(command) == "bundled:clip"
    assert len(answer(command, "search", "--id", "pics:banana.png", "-k", "100")["hits"]) == 60
    refused = command("model", "switch", "look", old[:6])
    assert refused.code == 1
    assert "--force" in refused.err
    assert answer(command, "model", "switch", "look", old[:6], "--force")["held"]
    assert answer(command, "model", "switch", "look") == {
        "model": "look", "before": old, "serving": new, "wanted": new, "switched": True, "held": False, "reasons": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("lok",), 1, r"no model 'lok' in the settings (there: clip, dino)"),
        (("clip", "c0ffee"), 1, r"0 fingerprints of model 'clip' start with 'c0ffee'"),
        (("clip", "abc", "--release"), 2, "--release goes with neither a fingerprint nor --force"),
    ],
)
def test_what_cannot_be_switched_to_is_said(
    project: Path, command: Command, arguments: tuple[str, ...], code: int, says: str
) -> None:
    said = command("model", "switch", *arguments)
    assert (said.code, said.out) == (code, "")
    assert says in said.err


def test_switching_to_what_serves_already_changes_nothing(project: Path, command: Command) -> None:
    said = command("model", "switch", "clip")
    assert (said.code, said.err) == (0, "")
    assert said.out.endswith(" serves\n")
