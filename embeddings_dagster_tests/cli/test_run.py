"""`run`: every input is accounted for, only what changed is done, and a bad picture costs itself alone."""

import json
import os
import shutil
from pathlib import Path

import dagster as dg
import pytest

from embeddings_dagster.settings import load_settings
from embeddings_dagster.store import Store
from embeddings_dagster_tests.cli.conftest import BROKEN, NAMES, SAMPLE, Command

STAGES = ["raw_images", "rgb_images", "clip_embeddings", "dino_embeddings"]


def counts(report: dict) -> tuple[int, int, int, int]:
    [source] = report["sources"]
    return source["total"], source["processed"], source["skipped"], source["failed"]


def made(report: dict) -> dict[str, int]:
    """Rows that each stage really made."""
    [source] = report["sources"]
    return {stage["stage"]: stage["processed"] - stage["reused"] for stage in source["stages"]}


def run(command: Command, *arguments: str, code: int = 0) -> dict:
    answer = command("run", "--json", *arguments)
    assert answer.code == code, answer.err
    return json.loads(answer.out)


def vectors(root: Path) -> dict[str, tuple[float, ...]]:
    settings = load_settings(root / "embeddings.yaml")
    store = Store.open(settings.data_root, settings.cache_root)
    [place] = [each for each in store.datasets() if each.startswith("embeddings/clip/")]
    chain = store.chain(place, "pics__000001")
    rows = chain.rows(chain.latest(), ("image_id", "embedding")).to_pylist()
    return {row["image_id"]: tuple(row["embedding"]) for row in rows}


def replace(file: Path, source: Path) -> None:
    """Other bytes under the same name, with a time that no coarse clock takes for the old one."""
    before = file.stat().st_mtime_ns
    shutil.copyfile(source, file)
    os.utime(file, ns=(before + 10**9, before + 10**9))


def test_a_second_run_encodes_nothing_and_says_so(project: Path, command: Command) -> None:
    answer = command("run")
    assert answer.code == 0
    assert "nothing changed" in answer.out
    assert ["pics", "6", "0", "5", "1"] in [line.split()[:5] for line in answer.out.splitlines()]
    report = run(command)
    assert (counts(report), report["runs"], made(report)) == ((6, 0, 5, 1), [], {})


def test_the_table_accounts_for_every_stage(
    built: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(built / "pics", tmp_path / "pics")
    monkeypatch.chdir(tmp_path)
    assert command("init", "--source", "pics").code == 0
    answer = command("run")
    assert answer.code == 0
    table = [line.split()[:5] for line in answer.out.splitlines()]
    assert table[0] == ["source", "total", "processed", "skipped", "failed"]
    assert ["pics", "6", "5", "0", "1"] in table
    assert ["raw_images", "6", "6", "0", "0"] in table
    assert ["rgb_images", "6", "5", "0", "1"] in table
    assert ["clip_embeddings", "5", "5", "0", "0"] in table
    assert "clip_index: generation 1, 5 rows (+5 ~0 -0)" in answer.out
    assert "raw_images pics__000001: 6 of 6" in answer.err, "plain log lines where there is no terminal"
    with dg.DagsterInstance.from_config(str(tmp_path / ".dagster")) as instance:
        jobs = [run.job_name for run in instance.get_runs()]
        assert sorted(jobs) == ["embed_batches", "refresh_indexes"], "what it did is in the UI's history"


def test_a_bad_image_in_mid_batch_moves_no_other_row(project: Path, command: Command) -> None:
    before = vectors(project)
    replace(project / "pics" / "dog.png", SAMPLE / BROKEN)
    report = run(command)
    assert counts(report) == (6, 0, 4, 2)
    after = vectors(project)
    assert after == {image: vector for image, vector in before.items() if image != "pics:dog.png"}
    [failure] = [each for each in json.loads(command("failures", "--json").out) if each["image_id"] == "pics:dog.png"]
    assert (failure["stage"], failure["error_class"], failure["attempts"]) == ("rgb_images", "DecodeFailed", 1)
    assert "truncated" in failure["message"]
    found = json.loads(command("search", "dog", "--json").out)["hits"]
    assert sorted(hit["image_id"] for hit in found) == sorted(after), "nor is it found any more"


def test_a_failure_is_retried_when_it_changes_or_on_request_and_not_otherwise(project: Path, command: Command) -> None:
    def attempts() -> list[int]:
        return [each["attempts"] for each in json.loads(command("failures", "--json").out)]

    assert attempts() == [1]
    assert run(command)["runs"] == []
    assert attempts() == [1]
    assert counts(run(command, "--retry-failed")) == (6, 0, 5, 1)
    assert attempts() == [2]
    replace(project / "pics" / "piece.png", SAMPLE / "food" / "bread.png")
    report = run(command)
    assert counts(report) == (6, 1, 5, 0)
    assert set(made(report).values()) == {1}, "it alone was made"
    assert attempts() == []


def test_new_changed_moved_and_gone_images_cost_what_changed(project: Path, command: Command) -> None:
    pics = project / "pics"
    shutil.copy2(SAMPLE / "food" / "bread.png", pics)
    replace(pics / "dog.png", SAMPLE / "animals" / "cat-face.png")
    (pics / "pizza.png").rename(pics / "renamed.png")
    (pics / "banana.png").unlink()
    report = run(command)
    assert counts(report) == (6, 3, 2, 1)
    assert [made(report)[stage] for stage in STAGES] == [3, 3, 2, 2], "the renamed one is not encoded again"
    assert {index["rows"] for index in report["indexes"]} == {5}


def test_one_model_alone_can_be_run(project: Path, command: Command) -> None:
    shutil.copy2(SAMPLE / "food" / "bread.png", project / "pics")
    report = run(command, "--model", "dino", "--batch-size", "1", "--device", "cpu")
    assert set(made(report)) == {"raw_images", "rgb_images", "dino_embeddings"}
    assert [index["model"] for index in report["indexes"]] == ["dino"]
    assert set(made(run(command))) == {"raw_images", "rgb_images", "clip_embeddings", "dino_embeddings"}


def test_a_sample_lets_only_so_many_in(
    built: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(built / "pics", tmp_path / "pics")
    monkeypatch.chdir(tmp_path)
    command("init", "--source", "pics")
    assert counts(run(command, "--sample", "2"))[0] == 2
    assert counts(run(command, "--sample", "2", "--source", "pics", "--batch", "pics__000001"))[0] == 2


def test_strict_turns_recorded_failures_into_an_exit_code(project: Path, command: Command) -> None:
    assert command("run").code == 0
    assert command("run", "--strict").code == 1
    (project / "pics" / "piece.png").unlink()
    assert command("run", "--strict").code == 0


def test_a_source_that_is_gone_is_an_error_and_removes_nothing(project: Path, command: Command) -> None:
    (project / "pics").rename(project / "elsewhere")
    answer = command("run")
    assert answer.code == 1
    assert "does not exist" in answer.err
    assert "Traceback" not in answer.err
    assert len(vectors(project)) == len(NAMES)


def test_an_implausible_removal_needs_to_be_confirmed(project: Path, command: Command) -> None:
    for file in (project / "pics").iterdir():
        file.unlink()
    refused = command("run")
    assert refused.code == 1
    assert "--allow-removals" in refused.err
    assert len(vectors(project)) == len(NAMES)
    report = run(command, "--allow-removals")
    assert counts(report) == (0, 0, 0, 0)
    assert {index["rows"] for index in report["indexes"]} == {0}
    assert command("search", "pizza").out == "nothing found: the index is empty\n"


def test_force_asks_and_makes_every_row_anew(project: Path, command: Command) -> None:
    assert command("run", "--force").code == 2, "nobody can answer here"
    report = run(command, "--force", "--yes", "--model", "clip")
    assert made(report) == {"raw_images": 6, "rgb_images": 5, "clip_embeddings": 5}


@pytest.mark.parametrize("arguments", [("--source", "pix"), ("--batch", "pics__9"), ("--model", "clop")])
def test_what_does_not_exist_is_named(project: Path, command: Command, arguments: tuple[str, str]) -> None:
    answer = command("run", *arguments)
    assert answer.code == 1
    assert answer.err.splitlines()[-1].startswith("error: no ")
    assert arguments[1] in answer.err


def test_a_mistake_in_the_settings_is_one_line_and_exit_code_1(project: Path, command: Command) -> None:
    file = project / "embeddings.yaml"
    file.write_text(file.read_text() + "batch_imags: 3\n")
    line = len(file.read_text().splitlines())
    for arguments in (["run"], ["status"], ["plan"], ["search", "dog"]):
        answer = command(*arguments)
        assert (answer.code, answer.out) == (1, "")
        assert answer.err == (
            f"error: embeddings.yaml:{line}: batch_imags: unknown key; did you mean 'batch_images'?\n"
        )


def test_without_settings_the_remedy_is_named(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = command("run")
    assert answer.code == 1
    assert "write one with `embeddings init`" in answer.err


def test_a_model_that_its_run_calibrates_is_indexed_and_serves_after_that_run(project: Path, command: Command) -> None:
    pytest.importorskip("nncf")
    for number, each in enumerate(sorted((SAMPLE / "travel").iterdir())[:12]):
        shutil.copy2(each, project / "pics" / f"more-{number}.png")
    file = project / "embeddings.yaml"
    assert command("run").code == 0
    file.write_text(file.read_text().replace("# precision: fp32", "precision: int8", 1))
    report = run(command, "--model", "clip")
    assert [each["model"] for each in report["indexes"]] == ["clip"]
    wanted = [each for each in json.loads(command("model", "list", "--json").out) if each["wanted"]]
    assert [(each["name"], each["serving"]) for each in wanted] == [("clip", True), ("dino", True)]
    assert run(command)["runs"] == []


def test_a_device_of_no_such_name_is_refused_before_anything_is_done(project: Path, command: Command) -> None:
    refused = command("run", "--force", "--yes", "--device", "gpu")
    assert refused.code == 2
    assert "'gpu' is none of auto, cpu" in refused.err
