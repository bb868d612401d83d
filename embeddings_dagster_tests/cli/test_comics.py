import csv
import json
from pathlib import Path

import pytest

from embeddings_dagster_tests.cli.conftest import Command

HEADER = "image_path,image_exists,image_rel_path,predictions_json_id,coco_id_exists,vlm_json_rel_path"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = ["E:\\lib\\a.jpg,True,a.jpg,1,True,a.json", "E:\\lib\\b.jpg,True,b.jpg,2,True,b.json", ",True,=cmd|x,3,,"]
    (tmp_path / "map.csv").write_text("\n".join([HEADER, *rows]))
    annotations = [{"image_id": image, "category_id": 1, "bbox": [1, 2, 30, 40]} for image in ("1", "2", "2")]
    images = [{"id": image, "file_name": f"{image}.jpg"} for image in "12"]
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text('{"panels": [{"text": "Hi"}]}')
    return tmp_path


def test_specs_are_made_and_what_was_left_out_is_told(desk: Path, command: Command) -> None:
    answer = command("comics-specs", "map.csv", "coco.json", "out/specs")
    assert answer.code == 0, answer.err
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert "written 1" in lines
    assert "left out: boxes and texts differ in number 1" in lines
    assert "left out: it is not in the predictions 1" in lines
    assert "total 3" in lines
    assert "annotations: 3 taken" in lines
    assert (desk / "out/specs/pages.txt").read_text() == "a.jpg.json\n"
    with (desk / "out/specs/pages_left_out.csv").open() as file:
        assert list(csv.reader(file)) == [
            ["line", "page", "reason", "detail"],
            ["3", "b.jpg", "boxes and texts differ in number", "2 boxes, 1 texts"],
            ["4", "'=cmd|x", "it is not in the predictions", "3"],
        ]


def test_the_answer_for_a_program_accounts_for_every_row(desk: Path, command: Command) -> None:
    answer = command(
        "comics-specs", "map.csv", "coco.json", "out", "--subset", "all", "--list-name", "all.txt", "--json"
    )
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told == {
        "rows": 3,
        "written": 2,
        "changed": 2,
        "uneven": 1,
        "without_text": {},
        "left_out": {"it is not in the predictions": 1},
        "annotations": {"taken": 3},
        "list": "out/all.txt",
        "report": "out/all_left_out.csv",
    }
    assert told["rows"] == told["written"] + sum(told["left_out"].values())


def test_score_and_category_can_be_chosen(desk: Path, command: Command) -> None:
    answer = command("comics-specs", "map.csv", "coco.json", "out", "--category", "2", "--category", "3", "--json")
    assert json.loads(answer.out)["annotations"] == {"of another category": 3}
    answer = command("comics-specs", "map.csv", "coco.json", "out", "--min-score", "1.5", "--json")
    assert json.loads(answer.out)["annotations"] == {"below the least score": 3}


def test_inputs_that_are_not_there_are_an_error_in_a_line(desk: Path, command: Command) -> None:
    answer = command("comics-specs", "map.csv", "no.json", "out")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("error: the predictions 'no.json' cannot be read (No such file or directory)")


@pytest.mark.parametrize("name", ["../pages.txt", "a/b.txt", "pages.json", "", "a\\b"])
def test_a_list_has_a_plain_name(desk: Path, command: Command, name: str) -> None:
    answer = command("comics-specs", "map.csv", "coco.json", "out", "--list-name", name)
    assert answer.code == 2
    assert not (desk / "out").exists()
