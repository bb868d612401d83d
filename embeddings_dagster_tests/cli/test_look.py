"""What the look-up commands say of a small project that was run, on the terminal's plain side and as JSON."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from embeddings_dagster.cli.look import FAILURE_COLUMNS, safe_cell
from embeddings_dagster_tests.cli.conftest import NAMES, SAMPLE, Command

BATCH = "pics__000001"


def answer(command: Command, *arguments: str) -> Any:
    said = command(*arguments, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_status_counts_every_stage_and_all_checks_pass(project: Path, command: Command) -> None:
    said = answer(command, "status")
    [batch] = said["sources"][0]["batches"]
    assert [(stage["stage"], stage["rows"], stage["failed"], stage["state"]) for stage in batch["stages"]] == [
        ("raw_images", 6, 0, "current"),
        ("rgb_images", 5, 1, "current"),
        ("clip_embeddings", 5, 0, "current"),
        ("dino_embeddings", 5, 0, "current"),
    ]
    assert [(model["name"], model["serving"], model["index"]["rows"]) for model in said["models"]] == [
        ("clip", True, 5),
        ("dino", True, 5),
    ]
    assert {check["passed"] for check in said["checks"]} == {True}
    shown = command("status").out
    assert "\x1b[" not in shown
    assert "✓ every image is a row or a failure" in shown


def test_status_says_what_other_settings_make_stale(project: Path, command: Command) -> None:
    file = project / "embeddings.yaml"
    file.write_text(file.read_text() + 'rgb:\n  background: "#000000"\n')
    said = answer(command, "status")
    states = {stage["stage"]: stage for stage in said["sources"][0]["batches"][0]["stages"]}
    assert states["raw_images"]["state"] == "current"
    assert states["rgb_images"]["state"] == "stale"
    assert "background" in states["rgb_images"]["why"]
    assert "1 stale" in command("status").out


def test_status_of_a_project_that_was_never_run(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command("init")
    said = command("status")
    assert said.code == 0
    assert "nothing yet: `embeddings run`" in said.out


def test_plan_foretells_the_run(project: Path, command: Command) -> None:
    assert "nothing to do: everything is current" in command("plan").out
    (project / "pics" / "new.png").write_bytes((SAMPLE / "food" / "bread.png").read_bytes())
    (project / "pics" / "pizza.png").rename(project / "pics" / "renamed.png")
    (project / "pics" / "dog.png").unlink()
    said = answer(command, "plan")
    [source] = said["sources"]
    assert {kind: source[kind] for kind in ("new", "changed", "moved", "gone", "unchanged")} == {
        "new": 1, "changed": 0, "moved": 1, "gone": 1, "unchanged": 4,
    }  # fmt: skip
    [batch] = source["batches"]
    assert [(stage["stage"], stage["todo"], stage["gone"], stage["waiting"]) for stage in batch["stages"]] == [
        ("raw_images", 2, 2, 0),
        ("rgb_images", 2, 2, 1),
        ("clip_embeddings", 2, 2, 0),
        ("dino_embeddings", 2, 2, 0),
    ]
    assert said["estimate"]["seconds"] > 0, "by the run there was"
    assert said["estimate"]["unknown"] == []
    assert "by past runs" in command("plan").out
    assert answer(command, "status")["checks"][1]["passed"], "nothing was changed by looking"


def test_plan_does_not_call_an_index_current_that_a_run_would_change(project: Path, command: Command) -> None:
    older = answer(command, "model", "list")[0]["fingerprint"]
    file = project / "embeddings.yaml"
    file.write_text(file.read_text().replace("# preprocessing: exact", "preprocessing: fast"))
    assert command("run").code == 0
    assert command("model", "switch", "clip", older[:12]).code == 0
    assert "nothing to do: everything is current" in command("plan").out, "it is held"
    file.write_text(file.read_text().replace("preprocessing: fast", "# preprocessing: exact"))
    assert command("run").code == 0
    file.write_text(file.read_text().replace("# preprocessing: exact", "preprocessing: fast"))
    assert "every batch is current; a run would bring the indexes" in command("plan").out
    assert answer(command, "plan")["indexes_behind"]


def test_plan_says_when_a_run_would_refuse(project: Path, command: Command) -> None:
    for file in (project / "pics").iterdir():
        file.unlink()
    said = command("plan")
    assert said.code == 0
    assert "--allow-removals" in said.err


def test_failures_are_listed_with_their_reason_and_filtered(project: Path, command: Command) -> None:
    [failure] = answer(command, "failures")
    assert list(failure) == list(FAILURE_COLUMNS)
    assert (failure["image_id"], failure["error_class"], failure["retryable"]) == (
        "pics:piece.png",
        "DecodeFailed",
        False,
    )
    assert "pics:piece.png" in command("failures").out
    assert command("failures").out.split()[:3] == ["image", "region", "stage"]
    for same in (("--stage", "rgb_images"), ("--class", "DecodeFailed"), ("--batch", BATCH), ("--permanent",)):
        assert answer(command, "failures", *same) == [failure]
    for other in (("--stage", "raw_images"), ("--class", "ReadFailed"), ("--batch", "pics__9"), ("--retryable",)):
        assert answer(command, "failures", *other) == []
    assert command("failures", "--retryable").out == "no failures\n"
    assert command("failures", "--source", "pix").code == 1


def test_failures_as_csv_are_safe_in_a_spreadsheet(project: Path, command: Command) -> None:
    [row] = csv.DictReader(io.StringIO(command("failures", "--csv").out))
    assert row["image_id"] == "pics:piece.png"
    assert row["attempts"] == "1"


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_that_begins_like_a_formula_is_escaped(cell: str) -> None:
    assert safe_cell(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["pics:=1.png", "", 3, None, False, "a-b"])
def test_other_cells_are_left_alone(cell: object) -> None:
    assert safe_cell(cell) == cell


def test_explain_follows_an_image_from_ledger_to_index(project: Path, command: Command) -> None:
    said = answer(command, "explain", "pics:pizza.png")
    stages = ["ledger", "raw_images", "rgb_images", "clip_embeddings", "dino_embeddings", "clip_index", "dino_index",
              "search_catalog"]  # fmt: skip
    assert [step["stage"] for step in said["steps"]] == stages
    assert {step["state"] for step in said["steps"]} == {"current"}
    assert {step["batch"] for step in said["steps"]} == {BATCH}
    assert all(step["version"] and step["run_id"] for step in said["steps"][1:])
    assert "pics:pizza.png in batch pics__000001" in command("explain", "pics:pizza.png").out


def test_explain_says_why_an_image_failed(project: Path, command: Command) -> None:
    steps = {step["stage"]: step for step in answer(command, "explain", "pics:piece.png")["steps"]}
    assert steps["raw_images"]["state"] == "current"
    assert steps["rgb_images"]["state"] == "failed"
    assert "DecodeFailed" in steps["rgb_images"]["why"]
    assert "--retry-failed" in steps["rgb_images"]["why"]
    assert steps["clip_index"]["state"] == "missing"


def test_explain_offers_what_looks_like_an_unknown_id(project: Path, command: Command) -> None:
    for unknown in ("pics:piza.png", "pizza", "pics:PIZZA"):
        said = command("explain", unknown)
        assert (said.code, said.out) == (1, "")
        assert "did you mean 'pics:pizza.png'" in said.err


def test_files_are_those_of_the_newest_version(project: Path, command: Command) -> None:
    [file] = answer(command, "files", "clip_embeddings")
    assert Path(file["path"]).is_file()
    assert (file["rows"], file["dead"], file["batch"]) == (5, [], BATCH)
    assert command("files", "clip_embeddings").out == f"{file['path']}\n"
    (project / "pics" / "dog.png").unlink()
    command("run")
    [file] = answer(command, "files", "clip_embeddings")
    if file["rows"] > 4:  # not folded yet: the row is still in it
        assert len(file["dead"]) == file["rows"] - 4
        assert "dead" in command("files", "clip_embeddings").err
    assert command("files", "clop").code == 1


def test_verify_finds_a_flipped_byte(project: Path, command: Command) -> None:
    assert command("verify").code == 0
    [file] = answer(command, "files", "clip_embeddings")
    data = bytearray(Path(file["path"]).read_bytes())
    data[len(data) // 2] ^= 1
    Path(file["path"]).write_bytes(data)
    said = command("verify", "--json")
    assert said.code == 1
    assert Path(file["path"]).name in said.out


def test_an_index_is_rolled_back_and_released(project: Path, command: Command) -> None:
    (project / "pics" / "dog.png").unlink()
    command("run", "--model", "clip")
    assert [each["rows"] for each in answer(command, "index", "list", "--model", "clip")] == [4, 5]
    assert command("index", "rollback").code == 2, "of which model?"
    assert answer(command, "index", "rollback", "--model", "clip")["clip"]["rows"] == 5
    assert "pinned" in command("index", "list").out
    assert "is pinned" in command("status").out
    assert len(answer(command, "search", "dog", "-k", "9")["hits"]) == 5
    assert answer(command, "index", "rollback", "--release", "--model", "clip")["clip"]["pinned"] is False
    assert command("run", "--model", "clip").code == 0
    assert len(answer(command, "search", "dog", "-k", "9")["hits"]) == 4


def test_models_are_listed(project: Path, command: Command) -> None:
    assert [(each["name"], each["serving"], each["wanted"]) for each in answer(command, "model", "list")] == [
        ("clip", True, True),
        ("dino", True, True),
    ]


@pytest.mark.parametrize(
    "asked", [("pizza",), ("--image", "pics/pizza.png"), ("--image", "pics/pizza.png", "--model", "dino")]
)
def test_search_by_text_and_by_picture_finds_it_first(project: Path, command: Command, asked: tuple[str, ...]) -> None:
    hits = answer(command, "search", *asked, "-k", "3")["hits"]
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert hits[0]["image_id"] == "pics:pizza.png"
    assert Path(hits[0]["location"]) == project / "pics" / "pizza.png"


def test_search_by_id_leaves_that_image_out(project: Path, command: Command) -> None:
    hits = answer(command, "search", "--id", "pics:pizza.png", "-k", "9")["hits"]
    assert sorted(hit["image_id"] for hit in hits) == [f"pics:{name}" for name in NAMES if name != "pizza.png"]


def test_a_search_is_a_table_of_rank_score_image_and_path(project: Path, command: Command) -> None:
    lines = command("search", "red heart", "-k", "2").out.splitlines()
    assert lines[0] == "text 'red heart'"
    assert lines[1].split() == ["rank", "score", "image", "path"]
    rank, score, image, path = lines[2].split()
    assert (rank, image, path) == ("1", "pics:red-heart.png", "pics/red-heart.png")
    assert 0 < float(score) <= 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--not", "dog"), 2),
        (("dog", "-k", "0"), 2),
        (("dog", "--weights", "clip"), 2),
        (("dog", "--weights", "clip=1", "--model", "clip"), 2),
        (("dog", "--regions", "--parts"), 2),
        (("dog", "--weights", "clip=nan"), 1),
        (("dog", "--where", "no condition"), 1),
        (("dog", "--where", "prize<3"), 1),
        (("dog", "--after", "x"), 1),
        (("dog", "--source", "pisc"), 1),
        (("dog", "--model", "dino"), 1),
        (("--image", "no"), 1),
    ],
)
def test_what_cannot_be_searched_for_is_said_in_a_line(
    project: Path, command: Command, arguments: tuple[str, ...], code: int
) -> None:
    said = command("search", *arguments)
    assert said.code == code
    assert "Traceback" not in said.err
