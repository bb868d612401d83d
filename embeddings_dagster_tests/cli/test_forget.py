"""`forget`: a source taken out of the settings goes down the line, other sources stay to the last vector."""

import json
import os
import re
import shutil
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.settings import load_settings
from embeddings_dagster.store import Failure, Store
from embeddings_dagster.store.tables import embeddings
from embeddings_dagster_tests.cli.command import COMMAND, environment
from embeddings_dagster_tests.cli.conftest import SAMPLE, Command

BATCH = "pics__000001"


def opened(root: Path) -> Store:
    settings = load_settings(root / "embeddings.yaml")
    return Store.open(settings.data_root, settings.cache_root)


def add_source(root: Path, name: str, *pictures: str) -> None:
    (root / name).mkdir()
    for each in pictures:
        shutil.copy2(SAMPLE / each, root / name)
    file = root / "embeddings.yaml"
    text = file.read_text().replace("sources:\n", f"sources:\n  {name}:\n    kind: folder\n    path: {name}\n", 1)
    file.write_text(text)


def take_out(root: Path, name: str) -> None:
    lines = (root / "embeddings.yaml").read_text().splitlines(keepends=True)
    start = lines.index(f"  {name}:\n")
    del lines[start : start + 3]
    (root / "embeddings.yaml").write_text("".join(lines))


@pytest.fixture
def two_sources(project: Path, command: Command) -> Path:
    """`pics` and `more`, of which `pics` was taken out of the settings after a run of both."""
    add_source(project, "more", "food/cookie.png", "animals/cat.png")
    assert command("run", "--source", "more").code == 0
    take_out(project, "pics")
    return project


def files_of(root: Path, name: str) -> list[str]:
    return [
        str(path.relative_to(root / "data"))
        for path in (root / "data").rglob(f"*{name}*")
        if "cache/locks" not in str(path)
    ]


def found(command: Command, text: str) -> set[str]:
    return {hit["image_id"] for hit in json.loads(command("search", text, "-k", "20", "--json").out)["hits"]}


def test_a_source_out_of_the_settings_keeps_its_data_until_it_is_forgotten(two_sources: Path, command: Command) -> None:
    assert command("run").code == 0
    assert "pics:pizza.png" in found(command, "pizza")
    before = opened(two_sources).chain("raw_images", "more__000001").latest()
    answer = command("forget", "pics", "--yes")
    assert answer.code == 0, answer.err
    assert "forgot pics: 1 batches, 6 images" in answer.out
    assert "stays: 4 materialisations of its partitions in Dagster's event log" in answer.err
    assert {each.partition(":")[0] for each in found(command, "pizza")} == {"more"}
    assert files_of(two_sources, "pics") == []
    assert opened(two_sources).sources() == ["more"]
    assert opened(two_sources).chain("raw_images", "more__000001").latest() == before
    assert command("verify").code == 0
    with dg.DagsterInstance.from_config(str(two_sources / ".dagster")) as instance:
        assert instance.get_dynamic_partitions("image_batches") == ["more__000001"]
    assert "nothing was launched" in command("run").out


def test_what_analyses_show_of_it_is_gone_at_once(two_sources: Path, command: Command) -> None:
    """Thumbnails in the map, ids in the clusters, and the pictures that Dagster's event log shows."""
    shutil.copy2(two_sources / "pics" / "pizza.png", two_sources / "more" / "slice.png")
    assert command("run").code == 0
    with dg.DagsterInstance.from_config(str(two_sources / ".dagster")) as instance:
        project = Project(load_settings(two_sources / "embeddings.yaml"))
        job = project_defs(project).resolve_job_def("analyse")
        assert job.execute_in_process(instance=instance, raise_on_error=False).success
    assert '"representative": "more:slice.png"' in command("duplicates", "--json").out
    assert command("export", "npy", "--source", "more").code == 0
    answer = command("forget", "pics", "--yes")
    assert answer.code == 0, answer.err
    assert re.search(r"stays: \S*exports: exports, which are yours", answer.err)
    root = two_sources / "data" / "analysis"
    assert {path.relative_to(root).parts[0] for path in root.rglob("*") if path.is_file()} == {"canaries"}
    with dg.DagsterInstance.from_config(str(two_sources / ".dagster")) as instance:
        for asset in ("near_duplicates", "embedding_map"):
            assert instance.fetch_materializations(dg.AssetKey(asset), limit=1).records == []
        assert instance.fetch_materializations(dg.AssetKey("clip_canaries"), limit=1).records != []
    assert command("duplicates").code == 1
    assert {each.partition(":")[0] for each in found(command, "pizza")} == {"more"}
    assert json.loads(command("duplicates", "--refresh", "--json").out)["listed"] == []


def test_vectors_of_a_former_fingerprint_go_too(two_sources: Path, command: Command) -> None:
    """No run empties them: nobody asks for that fingerprint any more."""
    chain = opened(two_sources).chain("embeddings/clip/0123456789ab", BATCH)
    writer = chain.writer(embeddings(2), run_id="run", label={"fingerprint": "0123456789ab" + "f" * 52})
    writer.fail(Failure("pics:pizza.png", 0, "bad", "clip", "OutOfMemory", "too large", True, datetime.now(UTC)))
    writer.finish(inputs={}, total=1)
    answer = command("forget", "pics", "--yes")
    assert answer.code == 0, answer.err
    assert files_of(two_sources, "pics") == []


def test_a_source_that_comes_back_is_made_anew(two_sources: Path, command: Command) -> None:
    assert command("forget", "pics", "--yes").code == 0
    file = two_sources / "embeddings.yaml"
    file.write_text(file.read_text().replace("sources:\n", "sources:\n  pics:\n    kind: folder\n    path: pics\n", 1))
    report = json.loads(command("run", "--json").out)
    [pics] = [each for each in report["sources"] if each["source"] == "pics"]
    assert (pics["total"], pics["processed"], pics["failed"]) == (6, 5, 1)
    assert "pics:pizza.png" in found(command, "pizza")


def test_forgetting_again_finishes_what_a_kill_cut_short(two_sources: Path, command: Command) -> None:
    """The ledger let go and nothing more, as when the process dies right after: the second time does the rest."""
    process = subprocess.Popen(
        [COMMAND, "forget", "pics", "--yes"], cwd=two_sources, env=environment(EMBEDDINGS_KILL_AT="manifest:created"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.wait(timeout=120) == -signal.SIGKILL
    assert opened(two_sources).ledger("pics").latest().batches[BATCH].live == 0
    assert files_of(two_sources, "pics") != []
    assert command("forget", "pics", "--yes").code == 0
    assert files_of(two_sources, "pics") == []
    assert command("verify").code == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pics", r"sources.pics .*is still in the settings, so its pictures would come back. Take it out first"),
        (BATCH, r"is still in the settings.* Remove the batch's pictures and run, or take the source out first"),
        ("picz", r"nothing is known of 'picz' \(sources there: pics\)"),
        ("pics__000009", r"source 'pics' has no batch 'pics__000009'"),
    ],
)
def test_what_cannot_be_forgotten_is_told_and_nothing_changes(
    project: Path, command: Command, name: str, message: str
) -> None:
    before = sorted(str(path) for path in (project / "data").rglob("*"))
    answer = command("forget", name, "--yes")
    assert answer.code == 1
    assert re.search(message, " ".join(answer.err.split())), answer.err
    assert [path for path in before if not os.path.exists(path)] == []


def test_a_pinned_index_is_not_overruled(two_sources: Path, command: Command) -> None:
    assert command("index", "rollback", "--model", "clip", "1").code == 0
    answer = command("forget", "pics", "--yes")
    assert answer.code == 1
    assert "index rollback --release" in answer.err
    assert files_of(two_sources, "pics") != []


def test_a_batch_that_was_removed_is_forgotten_by_itself(project: Path, command: Command) -> None:
    (project / "pics").rename(project / "gone")
    (project / "pics").mkdir()
    assert command("run", "--allow-removals").code == 0
    assert command("forget", BATCH, "--yes").code == 0
    assert files_of(project, BATCH) == []
    assert opened(project).sources() == ["pics"]
    status = json.loads(command("status", "--json").out)
    assert BATCH not in json.dumps(status["sources"]), "nothing of it is there, so nothing of it is missing"
    assert all(each["passed"] for each in status["checks"]), status["checks"]


def test_it_asks_first(two_sources: Path, command: Command) -> None:
    answer = command("forget", "pics")
    assert answer.code == 2
    assert "add --yes" in " ".join(answer.err.replace("│", " ").split())
