"""`catalog`: records by word, filter and facet, as a person types them; and where else the catalogue shows."""

import json
from pathlib import Path
from typing import Any

import pytest

from embeddings_dagster.settings import load_settings
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.store import Store
from embeddings_dagster_tests.cli.conftest import Command
from embeddings_dagster_tests.stages.catalog_world import CatalogWorld, Item

ITEMS = {
    "art:1": Item({"title": "Red shirt", "brand": "Acme", "price": 19.99, "size": "M"}),
    "art:2": Item({"title": "Blue shirt", "brand": "ACME", "price": 25}),
    "art:3": Item({"title": "[bold]Hat[/] :dog:", "brand": "Foo, Inc", "price": 5, "note": "=1+1"}),
    "art:4": Item({"title": "Page"}, panels=["Hello there", "Bye"]),
}


@pytest.fixture
def shop(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> CatalogWorld:
    """A project whose raw_images hold a few records, catalogued."""
    monkeypatch.chdir(tmp_path)
    assert command("init").code == 0
    settings = load_settings(tmp_path / "embeddings.yaml")
    store = Store.open(settings.data_root, settings.cache_root)
    world = CatalogWorld(StageContext(settings, store, "run"), [])
    world.age(one=1)
    world.write("one", ITEMS)
    world.refresh()
    return world


def answer(command: Command, *arguments: str) -> Any:
    said = command("catalog", *arguments, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def found(command: Command, *arguments: str) -> list[str]:
    return [record["image_id"] for record in answer(command, *arguments)["records"]]


def test_everything_is_listed_as_a_table(shop: CatalogWorld, command: Command) -> None:
    said = command("catalog")
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[0] == ["image", "title", "brand", "price", "note", "size"]
    assert lines[1] == ["art:1", "Red", "shirt", "Acme", "19.99", "M"]
    assert lines[3][:3] == ["art:3", "[bold]Hat[/]", ":dog:"], "taken literally"
    assert "4 of 6 rows, generation 1" in said.err


def test_words_and_conditions_find_records(shop: CatalogWorld, command: Command) -> None:
    assert set(found(command, "shirt")) == {"art:1", "art:2"}
    assert found(command, "shirt -blue") == ["art:1"]
    assert found(command, "--where", "brand=acme", "--where", "price>20") == ["art:2"]
    assert found(command, "--where", 'brand in "Foo, Inc",Bar') == ["art:3"]
    assert found(command, "--where", "size=", "--where", "price!=") == ["art:2", "art:3"]
    assert found(command, "--source", "art", "--batch", "art__one", "-k", "1") == ["art:1"]
    assert found(command, "hello") == ["art:4"], "a page is found by what its panels say"
    assert command("catalog", "nothing like it").out == "nothing found\n"


def test_panels_are_listed_on_request(shop: CatalogWorld, command: Command) -> None:
    records = answer(command, "hello", "--regions")["records"]
    assert {(each["image_id"], each["region"]) for each in records} == {("art:4", 0), ("art:4", 1)}
    assert "Hello there" in command("catalog", "hello", "--regions").out


def test_facets_and_fields_are_counted(shop: CatalogWorld, command: Command) -> None:
    said = command("catalog", "--facet", "brand", "--facet", "source")
    assert [line.split() for line in said.out.splitlines()] == [
        ["brand", "rows"], ["ACME", "2"], ["Foo,", "Inc", "1"], ["source", "rows"], ["art", "4"],
    ]  # fmt: skip
    assert answer(command, "--facet", "brand", "--where", "price<10")["facets"] == {
        "brand": [{"value": "Foo, Inc", "rows": 1}]
    }
    fields = {each["name"]: each for each in answer(command, "--fields")["fields"]}
    assert fields["price"] == {"name": "price", "numbers": 3, "times": 0, "texts": 0}
    assert "price" in command("catalog", "--fields").out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--where", "brnd=Acme"], "no field 'brnd'; did you mean 'brand'?"),
        (["--where", "brand"], "is no condition; write one like brand=Acme"),
        (["--where", "price<cheap"], "price holds numbers"),
        (["--facet", "colour"], "no field 'colour'"),
        (["!!!"], "no word to search for"),
        (["--source", "nowhere"], "no source 'nowhere'"),
    ],
)
def test_what_makes_no_sense_is_one_line_that_says_so(
    shop: CatalogWorld, command: Command, arguments: list[str], reason: str
) -> None:
    said = command("catalog", *arguments)
    assert (said.code, said.out) == (1, "")
    assert reason in said.err
    assert said.err.count("\n") == 1


def test_before_the_first_run_it_says_what_to_do(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command("init")
    said = command("catalog", "shirt")
    assert said.code == 1
    assert "make one with `embeddings run`" in said.err


def test_a_run_catalogues_what_it_finds_and_other_commands_show_it(project: Path, command: Command) -> None:
    assert {each.split(":")[0] for each in found(command)} == {"pics"}
    assert len(found(command)) == 6, "a picture that cannot be decoded has a record all the same"
    status = json.loads(command("status", "--json").out)
    assert (status["catalog"]["generation"], status["catalog"]["current"]) == (1, True)
    assert "search_catalog: generation 1, 6 rows of 6 images" in command("status").out
    [file] = json.loads(command("files", "search_catalog", "--json").out)
    assert (Path(file["path"]).suffix, file["rows"], file["batch"]) == (".sqlite", 6, None)
    step = json.loads(command("explain", "pics:pizza.png", "--json").out)["steps"][-1]
    assert (step["stage"], step["state"], step["batch"]) == ("search_catalog", "current", "pics__000001")


def test_a_picture_that_goes_leaves_the_catalogue_with_the_next_run(project: Path, command: Command) -> None:
    (project / "pics" / "dog.png").unlink()
    said = command("run")
    assert "search_catalog: generation 2, 5 records of 5 images (+0 ~0 -1)" in said.out
    assert "pics:dog.png" not in found(command)
    assert "nothing changed" in command("run").out


def test_a_damaged_catalogue_is_found_and_a_run_makes_it_anew(project: Path, command: Command) -> None:
    [file] = json.loads(command("files", "search_catalog", "--json").out)
    data = bytearray(Path(file["path"]).read_bytes())
    data[len(data) // 2] ^= 1
    Path(file["path"]).write_bytes(data)
    for said in (command("catalog"), command("verify")):
        assert said.code == 1
    told = command("verify").out
    assert "embeddings verify --repair" in told
    assert "delete it and run again" in command("catalog").err
    Path(file["path"]).unlink()
    assert not json.loads(command("status", "--json").out)["catalog"]["current"]
    assert "search_catalog: generation 2, 6 records" in command("run").out
    assert command("verify").code == 0
    assert len(found(command)) == 6


def test_force_makes_it_anew(project: Path, command: Command) -> None:
    report = json.loads(command("run", "--force", "--yes", "--json").out)
    assert (report["catalog"]["changed"], report["catalog"]["inserted"]) == (True, 6)


def test_explain_shows_what_a_record_says(shop: CatalogWorld, command: Command) -> None:
    """The ledger of this project has one picture, `any.png`."""
    shop.write("one", {"art:any.png": Item({"title": "Boot", "size": 42, "note": "x" * 500})})
    shop.refresh()
    step = json.loads(command("explain", "art:any.png", "--json").out)["steps"][-1]
    assert step["details"] == {"title": "Boot", "metadata": {"title": "Boot", "size": 42, "note": "x" * 500}}
    shown = command("explain", "art:any.png").out
    assert "title Boot" in shown
    assert "x" * 250 not in shown
