"""`search` and `recommend` as they are typed: weights, several models, conditions, pages, and what they print."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from embeddings_dagster.cli.hits import parse_regions, parse_weights, say_results, weighed, weighed_path
from embeddings_dagster.search import Results, SearchHit
from embeddings_dagster.search.results import Answering
from embeddings_dagster_tests.cli.conftest import Command


def answer(command: Command, *arguments: str) -> Any:
    said = command(*arguments, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def ids(command: Command, *arguments: str) -> list[str]:
    return [hit["image_id"] for hit in answer(command, *arguments)["hits"]]


@pytest.mark.parametrize(
    ("typed", "thing", "weight"),
    [
        ("cat", "cat", 1.0), ("cat^2", "cat", 2.0), ("a cat^.5", "a cat", 0.5), ("x^y", "x^y", 1.0), ("^2", "^2", 1.0),
        ("2^3^1", "2^3", 1.0), ("cat^", "cat^", 1.0), ("cat^-1", "cat^-1", 1.0), ("two\nlines^3", "two\nlines", 3.0),
    ],
)  # fmt: skip
def test_a_weight_is_typed_behind_the_thing(typed: str, thing: str, weight: float) -> None:
    assert weighed(typed) == (thing, weight)


def test_a_file_that_is_called_like_a_weight_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert weighed_path("a.png^2") == (Path("a.png"), 2.0)
    (tmp_path / "a.png^2").touch()
    assert weighed_path("a.png^2") == (Path("a.png^2"), 1.0)


def test_weights_of_models_are_typed_as_a_list() -> None:
    assert parse_weights("clip=0.6, dino=.4") == {"clip": 0.6, "dino": 0.4}
    assert parse_weights(None) is None
    for typed in ("clip", "clip=", "clip=x", "", "clip=1,", "clip=1,clip=2"):
        with pytest.raises(typer.BadParameter):
            parse_weights(typed)


def test_kinds_of_regions() -> None:
    assert [parse_regions(*each) for each in ((False, False), (True, False), (False, True))] == [None, "all", "parts"]


def test_several_things_and_models_add_up(project: Path, command: Command) -> None:
    assert ids(command, "search", "pizza", "--image", "pics/pizza.png", "--not", "dog", "-k", "1") == ["pics:pizza.png"]
    said = answer(command, "search", "--image", "pics/dog.png", "--weights", "clip=3,dino=1")
    assert [(each["model"], each["weight"]) for each in said["models"]] == [("clip", 0.75), ("dino", 0.25)]
    first = said["hits"][0]
    assert (first["image_id"], round(first["score"], 4)) == ("pics:dog.png", 1.0)
    assert [(each["model"], round(each["score"], 4)) for each in first["scores"]] == [("clip", 1.0), ("dino", 1.0)]
    table = command("search", "--image", "pics/dog.png", "--weights", "clip=3,dino=1").out.splitlines()
    assert table[1].split() == ["rank", "score", "clip", "dino", "image", "path"]
    said = command("search", "dog", "--weights", "clip=1,dino=1")
    assert said.code == 1
    assert "model 'dino' understands nothing of what is looked for; add a picture" in said.err


def test_records_narrow_it_down_and_are_counted(project: Path, command: Command) -> None:
    said = answer(command, "search", "food", "--where", "title~an", "--facet", "title")
    assert [hit["image_id"] for hit in said["hits"]] == ["pics:banana.png"]
    assert said["matching"] == len(said["hits"]) == sum(each["rows"] for each in said["facets"]["title"])
    assert ids(command, "search", "food", "--words", "banana") == ["pics:banana.png"]
    assert "no row of the index fulfils the conditions" in command("search", "food", "--words", "nosuchword").out


def test_fields_are_shown_as_conditions_name_them(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"Price": 3.5, "size": {"width": [1, 2]}}
    hit = SearchHit(1, "art:a", 0, 0.5, (), "art", "art__1", None, metadata=said)
    say_results(Results("q", (Answering("m", 1, "f", 1, "r", "t", 1),), 1, 1, {}, 0.1, (hit,)), ["price", "size.width"])
    _, heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["rank", "score", "image", "price", "size.width", "path"]
    assert row.split() == ["1", "0.500", "art:a", "3.5", "1,", "2", "gone"]


def test_pages_follow_each_other(project: Path, command: Command) -> None:
    whole = ids(command, "search", "red", "-k", "5")
    first = answer(command, "search", "red", "-k", "2")
    second = answer(command, "search", "red", "-k", "2", "--after", first["after"])
    third = answer(command, "search", "red", "-k", "2", "--after", second["after"])
    assert [hit["image_id"] for page in (first, second, third) for hit in page["hits"]] == whole
    assert third["after"] is None
    assert f"--after {first['after']}" in command("search", "red", "-k", "2").err
    assert command("search", "blue", "-k", "2", "--after", first["after"]).code == 1


def test_recommend_finds_others_like_all_of_them(project: Path, command: Command) -> None:
    found = ids(command, "recommend", "banana.png", "pizza.png", "--not", "dog.png")
    assert sorted(found) == ["pics:red-heart.png", "pics:strawberry.png"]
    assert command("recommend").code == 2
    said = command("recommend", "nosuchpicture.png")
    assert said.code == 1
    assert "no image 'nosuchpicture.png' in the index of model 'clip'" in said.err
