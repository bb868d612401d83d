"""A segment whose index is a graph keeps its promise, whatever is deleted or selected; its scores are exact."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest

from embeddings_dagster.errors import CorruptFile, Stopped
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Generation, Generations, SegmentEntry
from embeddings_dagster.index.recall import recall_of
from embeddings_dagster.store import Store
from embeddings_dagster_tests.index.clustered import WIDE, graph_segment, index_vectors
from embeddings_dagster_tests.index.helpers import generations_of, manifest, without

ROWS, TARGET = 20_000, 0.95
CLUSTERS = index_vectors().Clusters.make(WIDE, clusters=200)
VECTORS, MEMBERS = CLUSTERS.pictures(ROWS)
QUERIES = np.concatenate([CLUSTERS.pictures(40, seed=5)[0], CLUSTERS.texts(40, seed=6)])
TRUE = QUERIES @ VECTORS.T


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Generations, SegmentEntry]:
    folder = tmp_path_factory.mktemp("graph")
    generations = generations_of(Store.open(folder / "data", folder / "cache"))
    return generations, graph_segment(generations, VECTORS, texts=CLUSTERS.texts(128), target=TARGET)


def opened(generations: Generations, *entries: SegmentEntry) -> Generation:
    return Generation.open(generations, replace(manifest(*entries), dimension=WIDE))


@pytest.fixture(scope="module")
def generation(made: tuple[Generations, SegmentEntry]) -> Generation:
    return opened(*made)


def test_is_tuned_for_every_kind_of_query(made: tuple[Generations, SegmentEntry]) -> None:
    entry = made[1]
    assert entry.kind == "hnsw_fp16"
    assert entry.recall is not None
    assert (entry.recall.target, entry.recall.k) == (TARGET, 10)
    assert [(kind.kind, kind.queries) for kind in entry.recall.kinds] == [("rows", 256), ("texts", 128)]
    assert entry.recall.ef == max(kind.ef for kind in entry.recall.kinds)
    for kind in entry.recall.kinds:
        assert kind.mean >= TARGET
        assert kind.worst_decile <= kind.mean
        assert [point.ef for point in kind.curve] == sorted({point.ef for point in kind.curve})


def test_plain_faiss_opens_it_with_labels_as_rows(made: tuple[Generations, SegmentEntry]) -> None:
    generations, entry = made
    folder = Path(generations.store.root, generations.folder, "segments", entry.uuid)
    index = faiss.read_index(str(folder / "index.faiss"))
    assert isinstance(index, faiss.IndexHNSWSQ)
    assert (index.ntotal, index.d, index.metric_type) == (ROWS, WIDE, faiss.METRIC_INNER_PRODUCT)
    assert np.array_equal(np.load(folder / "vectors.npy", allow_pickle=False), VECTORS)
    labels = np.arange(0, ROWS, 97)
    found = index.search(VECTORS[labels], 1, params=faiss.SearchParametersHNSW(efSearch=64))[1][:, 0]
    assert np.mean(found == labels) > 0.98


def test_every_picture_finds_itself_first_with_a_score_of_one(generation: Generation) -> None:
    found = [generation.search(VECTORS[label], 3) for label in range(0, ROWS, 401)]
    assert [hits[0].image_id for hits in found] == [f"art:{label:06}.png" for label in range(0, ROWS, 401)]
    assert max(abs(hits[0].score - 1) for hits in found) < 1e-6


def test_scores_are_exact_and_in_order(generation: Generation) -> None:
    for number in range(0, len(QUERIES), 9):
        hits = generation.search(QUERIES[number], 25)
        labels = [int(hit.image_id[4:10]) for hit in hits]
        assert [hit.score for hit in hits] == pytest.approx(TRUE[number, labels].tolist(), abs=1e-6)
        assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.image_id, hit.region))
        assert len(set(labels)) == 25


@pytest.mark.parametrize("k", [1, 10, 100, 3_000, ROWS, ROWS + 5])
def test_any_number_of_hits_keeps_the_recall(generation: Generation, k: int) -> None:
    everything = np.ones(ROWS, bool)
    assert recall(generation, lambda number: everything, k, queries=range(0, len(QUERIES), 8)) >= TARGET


def recall(
    generation: Generation, allowed: Callable[[int], np.ndarray], k: int = 10, queries: range = range(len(QUERIES))
) -> float:
    """The mean recall of the segment's search among what is allowed for each query."""
    [segment] = generation.segments
    found = []
    for number in queries:
        mask = allowed(number)
        count = min(k, int(mask.sum()))
        truth = np.sort(np.where(mask, TRUE[number], -np.inf))[ROWS - count :]
        labels, scores = segment.search(QUERIES[number], k, mask)
        assert mask[labels].all()
        assert len(labels) >= count
        found.append(recall_of(scores[:count], truth))
    return float(np.mean(found))


@pytest.mark.parametrize("share", [0.99, 0.5, 0.05, 0.005, 0.0005])
def test_a_filter_that_has_nothing_to_do_with_the_query_keeps_the_recall(generation: Generation, share: float) -> None:
    mask = np.random.default_rng(8).random(ROWS) < share
    assert recall(generation, lambda number: mask) >= TARGET


@pytest.mark.parametrize("share", [0.5, 0.05, 0.005, 0.0005])
def test_a_filter_for_what_is_near_the_query_keeps_the_recall(generation: Generation, share: float) -> None:
    count = int(ROWS * share)
    assert recall(generation, lambda number: TRUE[number] >= np.sort(TRUE[number])[-count]) >= TARGET


@pytest.mark.parametrize("share", [0.5, 0.05, 0.005, 0.0005])
def test_a_filter_against_what_is_near_the_query_keeps_the_recall(generation: Generation, share: float) -> None:
    count = int(ROWS * share)
    assert recall(generation, lambda number: TRUE[number] < np.sort(TRUE[number])[-count]) >= TARGET


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_what_is_compared_and_not_searched_along_the_graph_is_exact(generation: Generation, share: float) -> None:
    """Among rows far from the query many are as near as each other, and float16 knows no order among them."""
    count = int(ROWS * share)
    assert recall(generation, lambda number: TRUE[number] < np.sort(TRUE[number])[count]) == 1


@pytest.mark.parametrize("clusters", [100, 10, 1])
def test_a_filter_for_whole_clusters_keeps_the_recall(generation: Generation, clusters: int) -> None:
    mask = np.isin(MEMBERS, np.random.default_rng(9).permutation(200)[:clusters])
    assert recall(generation, lambda number: mask) >= TARGET
    assert recall(generation, lambda number: ~mask) >= TARGET


def test_deleted_rows_are_never_found_and_cost_no_hit(made: tuple[Generations, SegmentEntry]) -> None:
    generations, entry = made
    for dead in (np.arange(0, ROWS, 2), np.flatnonzero(MEMBERS[0] == MEMBERS), np.arange(ROWS - 3)):
        deletions = without(generations, entry, *dead.tolist()).deletions
        generation = opened(generations, replace(entry, deletions=deletions))
        gone = {f"art:{label:06}.png" for label in dead}
        found = [hit.image_id for hit in generation.search(VECTORS[dead[0]], 10)]
        assert len(found) == min(10, ROWS - len(dead))
        assert not gone.intersection(found)
        assert generation.vector(f"art:{dead[0]:06}.png") is None


def test_an_image_left_out_is_the_only_one_missing(generation: Generation) -> None:
    [itself, *others] = generation.search(VECTORS[77], 11)
    assert generation.search(VECTORS[77], 10, without=[itself.image_id]) == others


def test_keys_find_their_vectors(generation: Generation) -> None:
    labels = np.random.default_rng(2).permutation(ROWS)[:300]
    keys = [Key(f"art:{label:06}.png", 0) for label in labels]
    vectors, there = generation.vectors([*keys, Key("art:000001.png", 1), Key("art:nothing", 0)])
    assert there.tolist() == [True] * 300 + [False, False]
    assert np.array_equal(vectors[:300], VECTORS[labels])


def test_answers_go_on_when_the_files_are_gone(tmp_path: Path) -> None:
    generations = generations_of(Store.open(tmp_path / "data", tmp_path / "cache"))
    entry = graph_segment(generations, VECTORS[:6_000])
    assert entry.kind == "hnsw_fp16"
    generation = opened(generations, entry)
    for path in Path(generations.store.root, generations.folder, "segments", entry.uuid).iterdir():
        path.unlink()
    assert generation.search(VECTORS[5], 1)[0].input_hash == "art:000005.png"


def test_a_flipped_bit_in_the_graph_is_refused(tmp_path: Path) -> None:
    generations = generations_of(Store.open(tmp_path / "data", tmp_path / "cache"))
    entry = graph_segment(generations, VECTORS[:6_000])
    path = Path(generations.store.root, generations.folder, entry.path("index.faiss"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=r"index\.faiss"):
        opened(generations, entry)


def test_an_object_store_holds_graphs_too(tmp_path: Path) -> None:
    generations = generations_of(Store.open(f"memory://{tmp_path.name}", tmp_path / "cache"))
    entry = graph_segment(generations, VECTORS[:6_000])
    assert opened(generations, entry).search(VECTORS[5], 1)[0].image_id == "art:000005.png"


def test_few_rows_are_compared_and_so_are_those_that_no_affordable_list_finds(tmp_path: Path) -> None:
    generations = generations_of(Store.open(tmp_path / "data", tmp_path / "cache"))
    few = graph_segment(generations, VECTORS[:900], name="few")
    assert (few.kind, few.recall) == ("flat", None)
    drawn = np.random.default_rng(0).standard_normal((2_500, 128)).astype(np.float32)
    noise = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    hard = graph_segment(generations, noise, name="hard", target=0.999)
    assert (hard.kind, hard.recall) == ("flat", None)
    path = Path(generations.store.root, generations.folder, hard.path("index.faiss"))
    assert isinstance(faiss.read_index(str(path)), faiss.IndexFlatIP)


def test_a_stop_between_chunks_leaves_no_index(tmp_path: Path) -> None:
    generations = generations_of(Store.open(tmp_path / "data", tmp_path / "cache"))

    def stop(done: int) -> None:
        if done >= 2_000:
            raise Stopped("now")

    with pytest.raises(Stopped):
        graph_segment(generations, VECTORS[:6_000], tick=stop)
    folder = Path(generations.store.root, generations.folder, "segments", "g" * 32)
    assert not (folder / "index.faiss").exists()
