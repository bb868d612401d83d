"""`run` that lost count ends with exit code 1 and says what, where, by how much and what to do; the next heals it."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from embeddings_dagster.defs import resources as resources_module
from embeddings_dagster.stages import rgb as rgb_module
from embeddings_dagster.stages.tally import Tally
from embeddings_dagster_tests.cli.conftest import Command
from embeddings_dagster_tests.defs.making import make_pictures, make_settings
from embeddings_dagster_tests.stages.toy_engine import ToyEngine


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four pictures in two batches and a text file; one model, without its network. Nothing was run."""
    make_pictures(tmp_path / "pics", 4)
    (tmp_path / "pics" / "notes.txt").write_text("no picture by its name")
    make_settings(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resources_module, "LocalEngine", lambda cache: ToyEngine())
    return tmp_path


def test_a_run_that_lost_count_fails_loudly_and_the_next_one_heals_it(
    fresh: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rgb_module.ordered_map

    def without_the_first(make: Callable[[str], Any], todo: Iterable[str], **options: Any) -> Iterator[Any]:
        return whole(make, [each for each in todo if each != "pics:000.png"], **options)

    with monkeypatch.context() as broken:
        broken.setattr(rgb_module, "ordered_map", without_the_first)
        answer = command("run")
    assert answer.code == 1
    assert (
        "rgb_images of pics__000001 lost count: of 2 regions to be made, 1 are neither rows nor failures "
        "(pics:000.png). Nothing was marked complete; run again, and report this if it comes back"
    ) in " ".join(answer.err.split())
    assert "source pics: 2 of 4 images are undone" in " ".join(answer.err.split())
    with dg.DagsterInstance.from_config(str(fresh / ".dagster")) as instance:
        [run] = instance.get_runs(dg.RunsFilter(job_name="embed_batches"))
        assert run.status == dg.DagsterRunStatus.FAILURE
    said = json.loads(command("run", "--json").out)
    found = {each["stage"]: [each[name] for name in ("total", "processed", "skipped", "failed")]
             for each in said["statistics"]}  # fmt: skip
    assert found == {
        "listing": [5, 4, 1, 0],
        "ledger": [4, 0, 4, 0],
        "raw_images": [2, 0, 2, 0],
        "rgb_images": [2, 1, 1, 0],
        "dino_embeddings": [2, 2, 0, 0],
        "dino_index": [4, 2, 2, 0],
        "search_catalog": [4, 0, 4, 0],
    }, "of the batch that was done already, no stage ran again"
    status = json.loads(command("status", "--json").out)
    assert [(each["stage"], each["total"], each["failed"]) for each in status["statistics"]] == [
        ("raw_images", 4, 0),
        ("rgb_images", 4, 0),
        ("dino_embeddings", 4, 0),
    ]


def test_images_that_are_undone_make_a_run_fail(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason, and though no stage complained."""
    monkeypatch.setattr("embeddings_dagster.stages.tally.tally", lambda *args: Tally("pics", 6, 0, 4, 1, 1))
    answer = command("run")
    assert answer.code == 1
    assert "source pics: 1 of 6 images are undone, neither rows nor failures; run again" in " ".join(answer.err.split())
