"""Searches by id and by vector, on real indexes: right hits, one state, and errors that say what to do."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from embeddings_dagster.errors import BadQuery, CorruptFile, IndexUnavailable, ModelUnavailable, UnknownItem
from embeddings_dagster.search import SearchService
from embeddings_dagster.search.opened import LOOK_SECONDS
from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.settings_sources import FolderSource
from embeddings_dagster.stages.index_versions import index_rollback
from embeddings_dagster.stages.switching import switch_by_hand
from embeddings_dagster.store.tables import RAW
from embeddings_dagster_tests.index.helpers import vector
from embeddings_dagster_tests.stages.index_world import IDENTITY, MODEL, OTHER_IDENTITY, World, make_world, whole


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = make_world(tmp_path)
    world.write("1", {**whole("a", "b", "c"), "art:page": {0: "page", 1: "panel"}})
    world.refresh()
    return world


@pytest.fixture
def service(world: World) -> SearchService:
    return SearchService(world.context.settings, world.store)


def ids(service: SearchService, **query: object) -> list[str]:
    return [hit.image_id for hit in service.search(**query).hits]  # type: ignore[arg-type]


def write_raw(world: World, batch: str, locations: Mapping[str, str]) -> None:
    """Commit rows of `raw_images` that say no more than where the pictures are."""
    writer = world.store.chain("raw_images", batch).writer(RAW, run_id="run", label={})
    for image_id, location in locations.items():
        writer.add([{"image_id": image_id, "input_hash": "h", "batch": batch, "location": location}])
    writer.finish(inputs={}, total=len(locations))


def test_a_vector_finds_its_own_row_first(service: SearchService) -> None:
    found = service.search(vector=vector("b@1"), k=2)
    first = found.hits[0]
    assert (first.rank, first.image_id, first.region, first.batch, first.source) == (1, "art:b", 0, "art__1", "art")
    assert first.score == pytest.approx(1, abs=1e-6)
    assert (first.model, first.fingerprint, first.generation, first.run_id) == (MODEL, IDENTITY.fingerprint, 1, "run")
    assert (found.model, found.generation, found.rows, len(found.hits)) == (MODEL, 1, 5, 2)
    assert found.query == "vector of 8 components"
    assert [hit.rank for hit in found.hits] == [1, 2]


def test_a_known_image_finds_others_by_its_stored_vector(service: SearchService) -> None:
    found = service.search(image_id="art:a", k=10)
    assert {hit.image_id for hit in found.hits} == {"art:b", "art:c", "art:page"}
    scores = {hit.image_id: hit.score for hit in found.hits}
    assert scores["art:b"] == pytest.approx(float(vector("a@1") @ vector("b@1")), abs=1e-6)
    assert found.query == "image art:a"


def test_regions_are_found_when_asked_for(service: SearchService) -> None:
    hit = service.search(vector=vector("panel"), k=1, regions="all").hits[0]
    assert (hit.image_id, hit.region) == ("art:page", 1)
    assert all(hit.region == 0 for hit in service.search(vector=vector("panel")).hits)


def test_an_image_is_known_by_the_end_of_its_id(service: SearchService) -> None:
    found = service.search(image_id="PAGE")
    assert found.query == service.search(image_id="art:page").query
    assert "art:page" not in {hit.image_id for hit in found.hits}


def test_an_unknown_image_is_named_with_close_ones(service: SearchService) -> None:
    with pytest.raises(UnknownItem, match=r"no image 'pag' in the index of model 'toy'; did you mean 'art:page'\?"):
        service.search(image_id="pag")
    with pytest.raises(UnknownItem, match=r"did you mean 'art:page'"):
        service.search(image_id="art:pgae")
    with pytest.raises(UnknownItem, match="embeddings status"):
        service.search(image_id="zzzzzzzzzzzzz")


def test_an_unknown_model_is_named(service: SearchService) -> None:
    with pytest.raises(UnknownItem, match=r"no model 'clipp' in the settings \(there: toy\)"):
        service.search(vector=vector("x"), model="clipp")


def test_without_an_index_it_says_what_makes_one(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    with pytest.raises(IndexUnavailable, match=r"'toy' has no index yet; make one with `embeddings run`"):
        SearchService(world.context.settings, world.store).search(vector=vector("x"))


def test_a_vector_of_another_dimension_is_refused(service: SearchService) -> None:
    with pytest.raises(BadQuery, match=r"shape \(3,\) was given; this index has \(8,\)"):
        service.search(vector=[1, 2, 3])


def test_an_impossible_number_of_hits_is_refused(service: SearchService) -> None:
    with pytest.raises(BadQuery, match="k = 0 hits"):
        service.search(image_id="art:a", k=0)


def test_the_default_model_is_the_first_that_knows_words(world: World) -> None:
    models = {name: ModelSettings(kind=kind, model=f"bundled:{kind}") for name, kind in
              (("toy", "dino"), ("words", "clip"), ("more", "clip"))}  # fmt: skip
    settings = world.context.settings.model_copy(update={"models": models})
    with pytest.raises(IndexUnavailable, match="'words' has no index yet"):
        SearchService(settings, world.store).search(image_id="art:a")


def test_hits_say_where_the_picture_lies(world: World, tmp_path: Path) -> None:
    write_raw(
        world,
        "art__1",
        {"art:a": "deep/a.png", "art:b": "b%0Ac.png", "art:c": "c%FF.png", "art:page": "https://host/p.png"},
    )
    source = {"art": FolderSource(kind="folder", path=tmp_path / "art")}
    settings = world.context.settings.model_copy(update={"sources": source})
    found = SearchService(settings, world.store).search(vector=vector("a@1")).hits
    assert {hit.image_id: hit.location for hit in found} == {
        "art:a": str(tmp_path / "art/deep/a.png"),
        "art:b": str(tmp_path / "art/b\nc.png"),
        "art:c": str(tmp_path / "art/c%FF.png"),  # not UTF-8: printable rather than exact
        "art:page": "https://host/p.png",
    }


def test_a_location_that_no_one_knows_is_none(service: SearchService) -> None:
    assert service.search(image_id="art:a", k=1).hits[0].location is None


def test_a_newer_generation_is_taken_up_within_a_second_or_at_once(world: World, service: SearchService) -> None:
    service.search(image_id="art:a")
    world.write("2", whole("d"))
    world.refresh()
    service.refresh()
    assert ids(service, vector=vector("d@1"), k=1) == ["art:d"]
    world.write("2", whole("e"))
    world.refresh()
    deadline = time.monotonic() + 10 * LOOK_SECONDS
    while ids(service, vector=vector("e@1"), k=1) != ["art:e"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_rollback_is_taken_up(world: World, service: SearchService) -> None:
    world.write("1", whole("z"))
    world.refresh()
    assert ids(service, vector=vector("x")) == ["art:z"]
    index_rollback(world.context, MODEL)
    service.refresh()
    assert len(ids(service, vector=vector("x"))) == 4


def test_search_reads_the_serving_fingerprint_until_the_switch(world: World, service: SearchService) -> None:
    new = World(world.context, world.log, OTHER_IDENTITY)
    new.write("1", whole("n"))
    new.refresh()
    assert service.search(vector=vector("x")).fingerprint == IDENTITY.fingerprint
    switch_by_hand(world.store, MODEL, OTHER_IDENTITY)
    service.refresh()
    found = service.search(vector=vector("x"))
    assert (found.fingerprint, [hit.image_id for hit in found.hits]) == (OTHER_IDENTITY.fingerprint, ["art:n"])


def test_a_switch_by_hand_is_taken_up_within_a_second_there_and_back(world: World, service: SearchService) -> None:
    new = World(world.context, world.log, OTHER_IDENTITY)
    new.write("1", whole("n"))
    new.refresh()
    for digits, expected in ((None, OTHER_IDENTITY), (IDENTITY.fp12, IDENTITY)):
        switch_by_hand(world.store, MODEL, OTHER_IDENTITY, digits)
        deadline = time.monotonic() + 10 * LOOK_SECONDS
        while service.search(vector=vector("x")).fingerprint != expected.fingerprint:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_text_is_not_encoded_by_another_model_than_the_index(service: SearchService) -> None:
    """The registered fingerprint is made up, so the bundled model's files cannot be those it stands for."""
    with pytest.raises(ModelUnavailable, match=r"with fingerprint 0123456789ab, but its files now"):
        service.search("red heart")


def test_a_damaged_segment_is_refused_and_the_opened_one_goes_on(world: World, service: SearchService) -> None:
    service.search(image_id="art:a")
    newest = world.generations.latest()
    assert newest is not None
    path = Path(world.store.root, world.generations.folder, newest.segments[0].path("index.faiss"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.with_suffix(".new").write_bytes(data)
    path.with_suffix(".new").rename(path)
    assert len(service.search(image_id="art:a").hits) == 3
    with pytest.raises(CorruptFile, match=r"index\.faiss"):
        SearchService(world.context.settings, world.store).search(image_id="art:a")


def test_searches_during_refreshes_each_see_one_state(world: World, service: SearchService) -> None:
    """In every generation all pictures have one version; an answer with two would be a mixture."""
    world.write("1", whole("a", "b", "c", version="0"))
    world.refresh()
    stop, wrong, seen = threading.Event(), [], set()

    def ask() -> None:
        while not stop.is_set():
            service.refresh()
            found = service.search(vector=vector("x"), k=5)
            version = found.generation - 2
            seen.add(found.generation)
            expected = {f"art:{name}": float(vector(f"{name}@{version}") @ vector("x")) for name in "abc"}
            if {hit.image_id: hit.score for hit in found.hits} != pytest.approx(expected, abs=1e-5):
                wrong.append(found)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in range(1, 6):
        world.write("1", whole("a", "b", "c", version=str(version)))
        world.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(seen) > 1


def test_settings_without_models_are_an_error(world: World) -> None:
    settings = Settings(data=world.context.settings.data, models={})
    with pytest.raises(UnknownItem, match="add one under `models`"):
        SearchService(settings, world.store).search("anything")
