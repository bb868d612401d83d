"""Rows of the very same vector: told by their bytes, in an index once, found all, and in no other row's way."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.index import Generation, Generations, SegmentEntry, discard_segment
from embeddings_dagster.index.copies import Copies
from embeddings_dagster.store import Store
from embeddings_dagster_tests.index.clustered import WIDE, graph_segment, index_vectors
from embeddings_dagster_tests.index.helpers import Vector, generations_of, manifest, without

ROWS = 12_000
CLUSTERS = index_vectors().Clusters.make(WIDE, clusters=120)
ORDER = np.random.default_rng(3).permutation(ROWS)
PLACEHOLDER = np.sort(ORDER[:1_800])
GROUPS = np.sort(ORDER[1_800:2_400].reshape(50, -1), axis=1)
SINGLE = np.sort(ORDER[2_400:])


def pile() -> Vector:
    """Pictures, of which one in seven is the placeholder and one in twenty is one of fifty blank pages."""
    vectors: Vector = CLUSTERS.pictures(ROWS)[0]
    vectors[PLACEHOLDER] = vectors[PLACEHOLDER[0]]
    for group in GROUPS:
        vectors[group] = vectors[group[0]]
    return vectors


VECTORS = pile()


def named(labels: Sequence[int] | np.ndarray) -> list[str]:
    return [f"art:{label:06}.png" for label in labels]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Generations, SegmentEntry]:
    folder = tmp_path_factory.mktemp("copies")
    generations = generations_of(Store.open(folder / "data", folder / "cache"))
    return generations, graph_segment(generations, VECTORS, texts=CLUSTERS.texts(64))


def opened(generations: Generations, *entries: SegmentEntry) -> Generation:
    return Generation.open(generations, replace(manifest(*entries), dimension=WIDE))


@pytest.fixture(scope="module")
def generation(made: tuple[Generations, SegmentEntry]) -> Generation:
    return opened(*made)


def test_a_pile_with_repeated_pictures_is_still_a_graph(made: tuple[Generations, SegmentEntry]) -> None:
    generations, entry = made
    assert (entry.kind, entry.rows) == ("hnsw_fp16", ROWS)
    folder = Path(generations.store.root, generations.folder, "segments", entry.uuid)
    labels, nodes = np.load(folder / "copies.npy", allow_pickle=False)
    index = faiss.read_index(str(folder / "index.faiss"))
    assert index.ntotal == ROWS - len(labels) == len(SINGLE) + 1 + len(GROUPS)
    assert np.array_equal(np.sort(labels), np.sort(np.concatenate([PLACEHOLDER[1:], GROUPS[:, 1:].ravel()])))
    firsts = np.setdiff1d(np.arange(ROWS), labels)
    assert np.array_equal(VECTORS[firsts[nodes]], VECTORS[labels])
    assert np.allclose(index.storage.reconstruct_n(0, len(firsts)), VECTORS[firsts], atol=1e-3)


def test_every_other_row_finds_itself(generation: Generation) -> None:
    """Of a graph that holds every row, one in ten does not, however long its lists are."""
    sample = SINGLE[::7]
    found = [generation.search(VECTORS[label], 1)[0].image_id for label in sample]
    assert np.mean(np.array(found) == np.array(named(sample))) > 0.998


@pytest.mark.parametrize("members", [PLACEHOLDER, GROUPS[7]], ids=["placeholder", "blank page"])
def test_every_copy_is_found_and_none_twice(generation: Generation, members: np.ndarray) -> None:
    hits = generation.search(VECTORS[members[0]], len(members))
    assert [hit.image_id for hit in hits] == named(members)
    assert len({hit.score for hit in hits}) == 1
    assert hits[0].score == pytest.approx(1, abs=1e-6)
    [*same, after] = generation.search(VECTORS[members[0]], len(members) + 1)
    assert same == hits
    assert after.score < hits[0].score


def test_the_first_by_key_come_first_of_many_that_are_as_good(generation: Generation) -> None:
    assert [hit.image_id for hit in generation.search(VECTORS[PLACEHOLDER[0]], 10)] == named(PLACEHOLDER[:10])


@pytest.mark.parametrize("member", [0, 1, 900, -1])
def test_a_filter_that_allows_one_copy_alone_finds_it(generation: Generation, member: int) -> None:
    [segment] = generation.segments
    label = PLACEHOLDER[member]
    only = np.arange(ROWS) == label
    assert segment.search(VECTORS[label], 5, only)[0].tolist() == [label]
    others = ~np.isin(np.arange(ROWS), PLACEHOLDER) | only
    assert segment.search(VECTORS[label], 5, others)[0][0] == label
    [hit] = generation.search(VECTORS[label], 1, without=named(np.setdiff1d(PLACEHOLDER, [label])))
    assert [hit.image_id] == named([label])


@pytest.mark.parametrize("share", [0.9, 0.3, 0.02])
def test_filters_leave_the_best_of_what_they_allow(generation: Generation, share: float) -> None:
    [segment] = generation.segments
    allowed = np.random.default_rng(4).random(ROWS) < share
    recalls = []
    for query in [*CLUSTERS.pictures(20, seed=5)[0], VECTORS[PLACEHOLDER[0]], VECTORS[GROUPS[3, 0]]]:
        labels, scores = segment.search(query, 10, allowed)
        true = np.sort((VECTORS @ query)[allowed])[-10:]
        assert allowed[labels].all()
        assert len(set(labels.tolist())) == len(labels) >= 10
        assert scores == pytest.approx(VECTORS[labels] @ query, abs=1e-6)
        recalls.append(np.mean(scores[:10] >= true[0] - 1e-6))
    assert np.mean(recalls) >= 0.95
    assert recalls[-2:] == [1, 1]


@pytest.mark.parametrize(
    "dead", [[0], [1], range(1_799), range(0, 1_800, 2)], ids=["first", "next", "all but one", "half"]
)
def test_copies_live_on_whichever_of_them_is_deleted(
    made: tuple[Generations, SegmentEntry], dead: Sequence[int]
) -> None:
    generations, entry = made
    gone = PLACEHOLDER[list(dead)]
    generation = opened(generations, replace(entry, deletions=without(generations, entry, *gone.tolist()).deletions))
    left = np.setdiff1d(PLACEHOLDER, gone)
    assert [hit.image_id for hit in generation.search(VECTORS[gone[0]], len(left))] == named(left)
    assert [hit.image_id for hit in generation.search(VECTORS[gone[0]], 3)][:1] == named(left[:1])


def test_equal_pictures_of_several_segments_come_by_key(tmp_path: Path) -> None:
    generations = generations_of(Store.open(tmp_path / "data", tmp_path / "cache"))
    entries = [graph_segment(generations, VECTORS, name=name) for name in ("one", "two")]
    hits = opened(generations, *entries).search(VECTORS[PLACEHOLDER[0]], 5)
    assert [hit.image_id for hit in hits] == [name for name in named(PLACEHOLDER[:3]) for _ in range(2)][:5]


def test_a_pile_of_few_pictures_many_times_is_compared_once_each(tmp_path: Path) -> None:
    generations = generations_of(Store.open(tmp_path / "data", tmp_path / "cache"))
    kinds = np.random.default_rng(5).integers(0, 20, 3_000)
    entry = graph_segment(generations, VECTORS[SINGLE[:20]][kinds])
    assert (entry.kind, entry.recall) == ("flat", None)
    path = Path(generations.store.root, generations.folder, entry.path("index.faiss"))
    assert faiss.read_index(str(path)).ntotal == 20
    generation = opened(generations, entry)
    members = np.flatnonzero(kinds == 4)
    assert [hit.image_id for hit in generation.search(VECTORS[SINGLE[4]], len(members))] == named(members)
    assert len(generation.search(VECTORS[SINGLE[4]], 5_000)) == 3_000


@pytest.mark.parametrize("rows", [1, 2, 400])
def test_one_picture_alone_however_often(tmp_path: Path, rows: int) -> None:
    generations = generations_of(Store.open(tmp_path / "data", tmp_path / "cache"))
    generation = opened(generations, graph_segment(generations, VECTORS[[5] * rows]))
    assert [hit.image_id for hit in generation.search(VECTORS[5], 1_000)] == named(range(rows))


def test_rows_that_are_all_different_need_no_file(tmp_path: Path) -> None:
    generations = generations_of(Store.open(tmp_path / "data", tmp_path / "cache"))
    assert set(graph_segment(generations, VECTORS[SINGLE]).files) == {"index.faiss", "vectors.npy", "rows.parquet"}


def test_a_damaged_file_of_copies_is_refused_and_a_discarded_segment_leaves_nothing(tmp_path: Path) -> None:
    generations = generations_of(Store.open(tmp_path / "data", tmp_path / "cache"))
    entry = graph_segment(generations, VECTORS)
    path = Path(generations.store.root, generations.folder, entry.path("copies.npy"))
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=r"copies\.npy"):
        opened(generations, entry)
    discard_segment(generations.store.files, generations.folder, entry.uuid)
    assert [each for each in path.parent.rglob("*") if each.is_file()] == []


@given(st.lists(st.integers(0, 6), max_size=60), st.randoms(use_true_random=False), st.integers(1, 7))
def test_nodes_are_the_distinct_vectors_in_the_order_of_their_first_rows(
    kinds: list[int], random: Random, size: int
) -> None:
    vectors = np.eye(7, dtype=np.float32)[kinds].reshape(-1, 7)
    copies = Copies.among(vectors[start : start + size] for start in range(0, len(vectors), size))
    distinct = list(dict.fromkeys(kinds))
    assert (copies.rows, copies.count, len(copies)) == (len(kinds), len(distinct), len(kinds) - len(distinct))
    assert copies.firsts().tolist() == [kinds.index(kind) for kind in distinct]
    assert np.array_equal(copies.distinct(vectors)[np.arange(len(distinct))], np.eye(7)[distinct].reshape(-1, 7))
    allowed = np.array([random.random() < 0.5 for _ in kinds], bool)
    wanted = [any(allowed[i] for i, kind in enumerate(kinds) if kind == each) for each in distinct]
    assert copies.mask(allowed).tolist() == wanted
    drawn = np.array(random.sample(range(len(distinct)), random.randint(0, len(distinct))), np.int64)
    assert copies.allows(allowed, drawn).tolist() == [wanted[node] for node in drawn]
    nodes = drawn[copies.allows(allowed, drawn)]
    scores = -nodes.astype(np.float32)
    labels, found = copies.answer(nodes, scores, allowed, len(kinds) + 1)
    assert sorted(labels.tolist()) == [
        i for i, kind in enumerate(kinds) if allowed[i] and distinct.index(kind) in nodes.tolist()
    ]
    assert found.tolist() == [-float(distinct.index(kinds[label])) for label in labels]
