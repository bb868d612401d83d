"""A generation answers exactly, from what it was when it was opened, and never from a damaged file."""

import threading
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.errors import BadQuery, CorruptFile, FormatTooNew, MissingFile
from embeddings_dagster.ids import ALL, PARTS, WHOLE, Key, Regions
from embeddings_dagster.index import Generation, Generations, SegmentEntry
from embeddings_dagster.store import Store
from embeddings_dagster_tests.index.helpers import (
    DIMENSION,
    Vector,
    generations_of,
    manifest,
    pictures,
    segment,
    vector,
    without,
)

PAGE = [Key("art:page.png", 0), Key("art:page.png", 1), Key("art:page.png", 2)]


def opened(generations: Generations, *segments: SegmentEntry) -> Generation:
    return Generation.open(generations, generations.commit(generations.latest(), manifest(*segments)))


def keys_found(
    generation: Generation, query: Vector, k: int, *, regions: Regions = WHOLE, without: Collection[str] = ()
) -> list[Key]:
    hits = generation.search(query, k, generation.selection(regions=regions), without=without)
    return [Key(hit.image_id, hit.region) for hit in hits]


def brute_force(keys: Sequence[Key], query: Vector, k: int) -> list[Key]:
    return sorted(keys, key=lambda key: -float(vector(f"{key.image_id}/{key.region}") @ query))[:k]


def test_merges_segments_into_the_exact_best(generations: Generations) -> None:
    one, other = pictures(20), pictures(15, "art:q")
    generation = opened(generations, segment(generations, one), segment(generations, other))
    for name in ("x", "y", "z"):
        query = vector(name)
        assert keys_found(generation, query, 7) == brute_force([*one, *other], query, 7)


def test_scores_are_inner_products_best_first(generations: Generations) -> None:
    hits = opened(generations, segment(generations, pictures(5))).search(vector("x") * 2, 5)
    expected = [float(vector(f"{hit.image_id}/0") @ vector("x") * 2) for hit in hits]
    assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-6)
    assert expected == sorted(expected, reverse=True)
    assert {hit.batch for hit in hits} == {"art__0001"}


def test_deleted_rows_are_never_found(generations: Generations) -> None:
    keys = pictures(10)
    generation = opened(generations, without(generations, segment(generations, keys), 0, 3, 9))
    left = [key for label, key in enumerate(keys) if label not in (0, 3, 9)]
    query = vector("art:p003.png/0")
    assert keys_found(generation, query, 10) == brute_force(left, query, 10)
    assert generation.vector("art:p003.png") is None
    assert "art:p003.png" not in generation.close_ids("p003", 20)


def test_a_segment_without_live_rows_is_not_even_opened(generations: Generations) -> None:
    keys = pictures(2)
    entry = without(generations, segment(generations, keys), 0, 1)
    (Path(generations.store.root) / generations.folder / entry.path("index.faiss")).write_bytes(b"")
    assert opened(generations, entry).search(vector("x"), 5) == []


def test_regions_are_searched_only_when_asked(generations: Generations) -> None:
    generation = opened(generations, segment(generations, [*pictures(3), *PAGE]))
    query = vector("art:page.png/2")
    assert keys_found(generation, query, 1, regions=ALL) == [Key("art:page.png", 2)]
    assert keys_found(generation, query, 9) == brute_force([*pictures(3), PAGE[0]], query, 9)


def test_parts_alone_can_be_searched(generations: Generations) -> None:
    generation = opened(generations, segment(generations, [*pictures(3), *PAGE]))
    query = vector("x")
    assert keys_found(generation, query, 9, regions=PARTS) == brute_force(PAGE[1:], query, 9)


def test_sources_and_batches_are_searched_alone(generations: Generations) -> None:
    one, other = pictures(4), pictures(4, "shop:q")
    generation = opened(
        generations, segment(generations, one), segment(generations, other, "shop__0001"), segment(generations, PAGE)
    )
    query = vector("x")
    for selection, expected in (
        (generation.selection(sources=["shop"]), other),
        (generation.selection(batches=["art__0001"]), [*one, PAGE[0]]),
        (generation.selection(sources=["shop"], batches=["art__0001"]), []),
        (generation.selection(sources=["shop", "art"]), [*one, *other, PAGE[0]]),
    ):
        hits = generation.search(query, 20, selection)
        assert [Key(hit.image_id, hit.region) for hit in hits] == brute_force(expected, query, 20)


def test_selections_are_cut_with_each_other(generations: Generations) -> None:
    generation = opened(generations, segment(generations, [*pictures(3), *PAGE]))
    both = generation.selection(regions=WHOLE) & generation.selection(regions=PARTS)
    assert generation.search(vector("x"), 9, both) == []


def test_an_image_left_out_costs_no_hit(generations: Generations) -> None:
    generation = opened(generations, segment(generations, pictures(4)), segment(generations, PAGE))
    query = vector("art:page.png/0")
    assert keys_found(generation, query, 4, without=["art:page.png"]) == brute_force(pictures(4), query, 4)
    found = keys_found(generation, query, 4, without=["art:page.png"], regions=ALL)
    assert found == brute_force(pictures(4), query, 4)


def test_asking_for_more_than_there_is_gives_all(generations: Generations) -> None:
    assert len(opened(generations, segment(generations, pictures(3))).search(vector("x"), 1000)) == 3


def test_equal_scores_come_by_key(generations: Generations) -> None:
    generation = opened(generations, segment(generations, pictures(6)))
    assert keys_found(generation, np.zeros(DIMENSION, np.float32), 6) == pictures(6)


def test_stored_vectors_come_back_to_the_bit(generations: Generations) -> None:
    generation = opened(generations, segment(generations, pictures(3)), segment(generations, PAGE))
    stored = generation.vector("art:page.png", 2)
    assert stored is not None
    assert np.array_equal(stored, vector("art:page.png/2"))
    assert generation.vector("art:page.png", 3) is None
    assert generation.vector("art:nothing.png") is None
    keys = [PAGE[1], Key("art:nothing.png", 0), pictures(3)[2]]
    vectors, there = generation.vectors(keys)
    assert there.tolist() == [True, False, True]
    assert np.array_equal(vectors[there], [vector("art:page.png/1"), vector("art:p002.png/0")])
    assert not vectors[1].any()


def test_close_ids_contain_the_text_or_look_like_it(generations: Generations) -> None:
    generation = opened(generations, segment(generations, pictures(3)), segment(generations, PAGE))
    assert generation.close_ids("PAGE") == ["art:page.png"]
    assert generation.close_ids("art:p01.png", 1) == ["art:p001.png"]
    assert generation.close_ids("zzzzzz") == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (np.zeros(DIMENSION + 1, np.float32), r"shape \(9,\) was given; this index has \(8,\)"),
        (np.zeros((1, DIMENSION), np.float32), r"shape \(1, 8\)"),
        (np.full(DIMENSION, np.nan, np.float32), "NaN or infinity"),
        (np.full(DIMENSION, 1e300), "NaN or infinity"),
    ],
)
def test_a_query_that_does_not_fit_is_refused(generations: Generations, query: Vector, message: str) -> None:
    generation = opened(generations, segment(generations, pictures(2)))
    with pytest.raises(BadQuery, match=message):
        generation.search(query, 1)


def test_keeps_its_state_while_newer_ones_land_and_files_go(generations: Generations) -> None:
    entry = segment(generations, pictures(5))
    old = opened(generations, entry)
    before = old.search(vector("x"), 5)
    new = opened(generations, segment(generations, PAGE))
    for name in entry.files:
        (Path(generations.store.root) / generations.folder / entry.path(name)).unlink()
    assert old.search(vector("x"), 5) == before
    assert keys_found(new, vector("x"), 5) == [PAGE[0]]


def test_many_threads_get_the_same_answers(generations: Generations) -> None:
    generation = opened(generations, without(generations, segment(generations, pictures(50)), 1, 2, 3))
    queries = [vector(f"q{number}") for number in range(20)]
    expected = [generation.search(query, 5) for query in queries]
    answers: list[object] = []

    def ask() -> None:
        answers.append([generation.search(query, 5) for query in queries])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 8


@pytest.mark.parametrize("name", ["index.faiss", "vectors.npy", "rows.parquet", "deletions"])
def test_a_flipped_bit_is_refused_with_the_file_named(generations: Generations, name: str) -> None:
    entry = without(generations, segment(generations, pictures(4)), 1)
    made = generations.commit(None, manifest(entry))
    assert entry.deletions is not None
    file = entry.deletions.file if name == "deletions" else entry.path(name)
    path = Path(generations.store.root) / generations.folder / file
    data = bytearray(path.read_bytes())
    data[-10] ^= 4
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=path.name.replace(".", r"\.")):
        Generation.open(generations, made)


def test_a_missing_file_is_named(generations: Generations) -> None:
    entry = segment(generations, pictures(4))
    made = generations.commit(None, manifest(entry))
    (Path(generations.store.root) / generations.folder / entry.path("vectors.npy")).unlink()
    with pytest.raises(MissingFile, match=r"vectors\.npy"):
        Generation.open(generations, made)


def test_a_kind_of_segment_from_the_future_is_refused(generations: Generations) -> None:
    entry = segment(generations, pictures(1))
    with pytest.raises(FormatTooNew, match=r"'spiral'; upgrade embeddings-dagster"):
        opened(generations, SegmentEntry(entry.uuid, "spiral", 1, entry.files))


def test_an_object_store_is_searched_through_copies_in_the_cache(tmp_path: Path) -> None:
    store = Store.open(f"memory://{tmp_path.name}", tmp_path / "cache")
    generations = generations_of(store)
    entry = segment(generations, pictures(6))
    generation = Generation.open(generations, manifest(entry))
    assert keys_found(generation, vector("x"), 3) == brute_force(pictures(6), vector("x"), 3)
    copy = tmp_path / "cache" / "fetched" / generations.folder / entry.path("vectors.npy")
    copy.write_bytes(b"damaged")
    again = Generation.open(generations, manifest(entry))
    assert again.vector("art:p001.png") is not None
    assert np.array_equal(np.load(copy), [vector(f"{key.image_id}/0") for key in pictures(6)])
