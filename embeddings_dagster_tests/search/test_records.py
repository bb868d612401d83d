"""Searches among records: conditions, words, counts of values, and what a hit says of its picture."""

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster.catalog import Facet
from embeddings_dagster.errors import BadQuery, IndexUnavailable, UnknownItem
from embeddings_dagster.search import SearchService
from embeddings_dagster_tests.index.helpers import vector
from embeddings_dagster_tests.search.world import SearchWorld, make_search_world
from embeddings_dagster_tests.stages.catalog_world import Item

ITEMS = {
    f"art:{number:02}": Item({"title": f"No {number}", "price": number, "brand": ["Acme", "Foo"][number % 2]})
    for number in range(20)
}
PAGE = Item({"title": "A page"}, panels=["red heart", "nothing here"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SearchWorld:
    """Twenty pictures with records, a page with two panels, and a picture that has no record."""
    world = make_search_world(tmp_path_factory.mktemp("records"), ["one"])
    world.record({**ITEMS, "art:page": PAGE})
    world.index("one", {**{name: [name] for name in ITEMS}, "art:page": ["page", "p1", "p2"], "art:unknown": ["u"]})
    world.index("one", {"art:other": ["other"]}, batch="2")
    return world


@pytest.fixture(scope="module")
def service(world: SearchWorld) -> SearchService:
    return world.service()


def found(service: SearchService, **asked: Any) -> set[str]:
    return {hit.image_id for hit in service.search(vector=vector("q"), k=100, **asked).hits}


@settings(max_examples=40, deadline=None)
@given(low=st.integers(-1, 21), brand=st.sampled_from(["Acme", "Foo", "Bar", None]))
def test_only_rows_whose_record_fulfils_the_conditions_are_found(
    service: SearchService, low: int, brand: str | None
) -> None:
    where = [f"price>={low}", *([f"brand={brand}"] if brand else [])]
    expected = {
        name
        for name, item in ITEMS.items()
        if item.metadata["price"] >= low and brand in (None, item.metadata["brand"])
    }
    answer = service.search(vector=vector("q"), where=where, k=100)
    assert {hit.image_id for hit in answer.hits} == expected
    assert answer.matching == len(expected)


def test_rows_without_a_record_fulfil_no_condition(service: SearchService) -> None:
    assert found(service, where="price=") == {"art:page"}
    assert {"art:unknown", "art:other"} < found(service)


def test_words_find_titles_and_the_panels_that_say_them(service: SearchService) -> None:
    assert found(service, words='"no 7"') == {"art:07"}
    (hit,) = service.search(vector=vector("p2"), words="red heart", regions="parts").hits
    assert (hit.image_id, hit.region, hit.text, hit.box) == ("art:page", 1, "red heart", (1, 0, 10, 20))
    assert found(service, words="nosuchword") == set()


def test_sources_and_batches_need_no_record(service: SearchService) -> None:
    assert found(service, batches="art__2") == {"art:other"}
    assert len(found(service, sources="art")) == 23
    assert found(service, batches="art__9") == set()
    with pytest.raises(UnknownItem, match=r"no source 'arts' \(there: art\); correct the name"):
        service.search(vector=vector("q"), sources="arts")


def test_values_are_counted_among_the_records_that_fulfil_the_conditions(service: SearchService) -> None:
    answer = service.search(vector=vector("q"), where="price<5", facets=["brand", "price"], k=2)
    assert answer.facets["brand"] == (Facet("Acme", 3), Facet("Foo", 2))
    assert len(answer.facets["price"]) == 5
    assert answer.as_dict()["facets"]["brand"] == [{"value": "Acme", "rows": 3}, {"value": "Foo", "rows": 2}]  # type: ignore[index]


def test_a_field_that_is_not_there_is_named_with_those_that_are(service: SearchService) -> None:
    for asked in ({"where": "prize<5"}, {"facets": ["prize"]}):
        with pytest.raises(BadQuery, match="no field 'prize'; did you mean 'price'"):
            service.search(vector=vector("q"), **asked)  # type: ignore[arg-type]


def test_a_hit_has_its_record(service: SearchService, world: SearchWorld) -> None:
    hits = {hit.image_id: hit for hit in service.search(vector=vector("q"), k=100).hits}
    hit = hits["art:07"]
    assert (hit.title, hit.metadata, hit.source, hit.batch) == ("No 7", ITEMS["art:07"].metadata, "art", "art__1")
    assert Path(str(hit.location)) == Path(world.store.root).parent / "art" / "07.png"
    lacking = hits["art:unknown"]
    assert (lacking.title, lacking.metadata, lacking.location, lacking.batch) == (None, None, None, "art__1")


def test_without_a_catalogue_only_what_needs_it_fails(tmp_path: Path) -> None:
    world = make_search_world(tmp_path, ["one"])
    world.index("one", {"art:a": ["a"]})
    service = world.service()
    answer = service.search(vector=vector("q"))
    assert (len(answer.hits), answer.catalogue) == (1, None)
    for asked in ({"where": "price<5"}, {"words": "red"}, {"facets": ["brand"]}):
        with pytest.raises(IndexUnavailable, match="no catalogue of records yet; make one with `embeddings run`"):
            service.search(vector=vector("q"), **asked)  # type: ignore[arg-type]
    world.record({"art:a": Item({"price": 1})})
    service.refresh()
    assert len(service.search(vector=vector("q"), where="price<5").hits) == 1


def test_a_damaged_catalogue_fails_only_what_needs_it(tmp_path: Path) -> None:
    world = make_search_world(tmp_path, ["one"])
    world.index("one", {"art:a": ["a"]})
    world.record({"art:a": Item({"price": 1})})
    [file] = (Path(world.store.root) / "catalog" / "files").iterdir()
    file.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    service = world.service()
    assert [hit.title for hit in service.search(vector=vector("q")).hits] == [None]
    with pytest.raises(Exception, match="made anew from raw_images"):
        service.search(vector=vector("q"), where="price<5")


def test_pages_of_a_filtered_search_stay_in_their_catalogue(tmp_path: Path) -> None:
    world = make_search_world(tmp_path, ["one"])
    world.index("one", {name: [name] for name in ITEMS})
    world.record(ITEMS)
    service = world.service()
    asked: dict[str, Any] = {"vector": vector("q"), "where": "price<10", "k": 4}
    whole = [hit.image_id for hit in service.search(**{**asked, "k": 10}).hits]
    first = service.search(**asked)
    world.record({name: Item({"price": 100}) for name in ITEMS})
    service.refresh()
    assert service.search(**asked).hits == ()
    second = service.search(**{**asked, "k": 6}, after=first.after)
    assert [hit.image_id for hit in (*first.hits, *second.hits)] == whole
    for price in range(5):
        world.record({name: Item({"price": price}) for name in ITEMS})
    with pytest.raises(BadQuery, match="the page has expired"):
        world.service().search(**asked, after=first.after)


def test_a_filter_is_right_over_several_segments_with_deleted_rows(tmp_path: Path) -> None:
    world = make_search_world(tmp_path, ["one"])
    world.record(ITEMS)
    names = list(ITEMS)
    world.index("one", {name: [name] for name in names[:8]}, batch="1")
    world.index("one", {name: [name] for name in names[8:15]}, batch="2")
    world.index("one", {name: [f"{name} new"] for name in names[2:8]}, batch="1")
    service = world.service()
    assert found(service, where="price in 1,3,4,9,17") == {"art:03", "art:04", "art:09"}
    assert service.search(vector=vector("q"), where="price<100").matching == 13


def test_every_search_among_refreshes_sees_one_catalogue(tmp_path: Path) -> None:
    """In every generation of the catalogue all records say the same number, which is also the condition."""
    world = make_search_world(tmp_path, ["one"])
    world.index("one", {name: [name] for name in list(ITEMS)[:5]})
    world.record({name: Item({"n": 0}) for name in list(ITEMS)[:5]})
    service, stop, wrong = world.service(), threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            service.refresh()
            answer = service.search(vector=vector("q"), where="n>=0", facets=["n"])
            said = {str((hit.metadata or {}).get("n")) for hit in answer.hits}
            if len(answer.hits) != 5 or len(said) != 1 or {each.value for each in answer.facets["n"]} != said:
                wrong.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 6):
        world.record({name: Item({"n": number}) for name in list(ITEMS)[:5]})
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_hit_is_shown_though_the_row_that_says_where_it_lies_is_gone(tmp_path: Path) -> None:
    world = make_search_world(tmp_path, ["one"])
    world.record({"art:a": Item({"title": "A"})})
    world.index("one", {"art:a": ["a"]})
    shutil.rmtree(tmp_path / "data" / "catalog")
    (part,) = (tmp_path / "data" / "raw_images").rglob("*.parquet")
    part.unlink()
    (hit,) = world.service().search(vector=vector("q")).hits
    assert (hit.image_id, hit.location, hit.metadata) == ("art:a", None, None)
