"""The demo's judgement and its place, without running it."""

import csv
import json
from pathlib import Path

import pytest

from embeddings_dagster.demo import NEEDED, Query, answer, find_sample, found, prepare
from embeddings_dagster.errors import SettingsError, SourceError

QUERY = Query("dog", ("a/dog.png", "a/dog-face.png"))


@pytest.mark.parametrize(
    ("paths", "rank", "passed"),
    [
        (["a/dog.png"], 1, True),
        (["x", "y", "a/dog-face.png", "a/dog.png"], 3, True),
        (["x", "y", "z", "a/dog.png"], 4, False),
        (["x"], None, False),
        ([], None, False),
    ],
)
def test_a_question_is_answered_by_an_expected_picture_among_the_first_three(
    paths: list[str], rank: int | None, passed: bool
) -> None:
    judged = answer(QUERY, paths)
    assert (judged.rank, judged.passed, judged.shown) == (rank, passed, tuple(paths[:3]))


def test_the_sample_has_twenty_questions_about_images_that_are_there() -> None:
    sample = find_sample()
    assert len(sample.queries) == 20 >= NEEDED
    folder = sample.folder
    there = {f"emoji:{path}" for path in json.loads((folder / "labels.json").read_text())}
    with (folder / "shop" / "products.csv").open(newline="") as file:
        there |= {f"shop:{row['product_id']}" for row in csv.DictReader(file) if row["image_url"]}
    for batch in (folder / "scraped").glob("*/batch.json"):
        for item in json.loads(batch.read_text())["items"]:
            there |= {f"fashion:{item['item_id']}", *(f"fashion:{item['item_id']}#{n}" for n in (1, 2))}
    pages = (folder / "comics" / "specs.txt").read_text().replace("\\", "/").split()
    there |= {f"comics:{page}" for page in pages}
    expected = {each for query in sample.queries for each in query.expected}
    assert expected - there == set()
    assert {each.partition(":")[0] for each in expected} == {"emoji", "shop", "comics"}
    assert found([answer(query, query.expected) for query in sample.queries]) == 20


def test_without_the_sample_the_way_to_get_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embeddings_dagster.demo.sample.PACKAGE", tmp_path / "site-packages" / "embeddings_dagster")
    with pytest.raises(SourceError, match="clone the repository and run `make demo`"):
        find_sample(tmp_path)


@pytest.fixture
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [each for each in os.environ if each.startswith("EMBEDDINGS_")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("_no_settings")
def test_its_place_has_settings_and_a_store_of_its_own(tmp_path: Path) -> None:
    sample = find_sample()
    file, settings = prepare(tmp_path / "demo [x]", sample)
    assert file == tmp_path / "demo [x]" / "embeddings.yaml"
    assert settings.source_path("emoji") == sample.folder / "emoji"
    assert settings.source_path("shop") == tmp_path / "demo [x]" / "products.csv"
    assert Path(settings.data_root) == tmp_path / "demo [x]" / "data"
    file.write_text(file.read_text() + "batch_images: 7\n")
    assert prepare(tmp_path / "demo [x]", sample)[1].batch_images == 7, "what somebody edited stays"


@pytest.mark.usefixtures("_no_settings")
def test_beside_the_sample_its_path_is_relative(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "sample"
    folder.mkdir(parents=True)
    (folder / "queries.json").write_text(json.dumps([{"query": "dog", "expected": ["dog.png"]}]))
    file, _ = prepare(tmp_path / "demo", find_sample(tmp_path))
    assert 'path: "../data/sample/emoji"' in file.read_text()
    assert 'path: "../data/sample/comics/specs.txt"' in file.read_text()


@pytest.mark.usefixtures("_no_settings")
def test_a_store_of_somebody_elses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDINGS_DATA", str(tmp_path / "mine"))
    with pytest.raises(SettingsError, match="EMBEDDINGS_DATA leads the demo into"):
        prepare(tmp_path / "demo", find_sample())
