"""The demo's judgement and its place, without running it."""

import json
from pathlib import Path

import pytest

from embeddings_dagster.demo import NEEDED, SOURCE, Query, answer, find_sample, found, prepare
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


def test_the_sample_has_twenty_questions_about_pictures_that_are_there() -> None:
    sample = find_sample()
    assert len(sample.queries) == 20 >= NEEDED
    missing = [path for query in sample.queries for path in query.expected if not (sample.pictures / path).is_file()]
    assert missing == []
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
    assert settings.source_path(SOURCE) == sample.pictures
    assert Path(settings.data_root) == tmp_path / "demo [x]" / "data"
    file.write_text(file.read_text() + "batch_images: 7\n")
    assert prepare(tmp_path / "demo [x]", sample)[1].batch_images == 7, "what somebody edited stays"


@pytest.mark.usefixtures("_no_settings")
def test_beside_the_sample_its_path_is_relative(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "sample"
    (folder / "emoji").mkdir(parents=True)
    (folder / "queries.json").write_text(json.dumps([{"query": "dog", "expected": ["dog.png"]}]))
    file, _ = prepare(tmp_path / "demo", find_sample(tmp_path))
    assert 'path: "../data/sample/emoji"' in file.read_text()


@pytest.mark.usefixtures("_no_settings")
def test_a_store_of_somebody_elses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDINGS_DATA", str(tmp_path / "mine"))
    with pytest.raises(SettingsError, match="EMBEDDINGS_DATA leads the demo into"):
        prepare(tmp_path / "demo", find_sample())
