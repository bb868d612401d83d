"""A graph that was filled with rows left out at first is the graph of all rows, each at its own label."""

import faiss
import numpy as np
import pytest

from embeddings_dagster.index.graph import CHUNK, Graph
from embeddings_dagster_tests.index.helpers import Vector

ROWS = 3_000
SOME = np.sort(np.random.default_rng(1).choice(ROWS, 200, replace=False))


@pytest.fixture(scope="module")
def vectors() -> Vector:
    drawn = np.random.default_rng(0).standard_normal((ROWS, 16)).astype(np.float32)
    found: Vector = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return found


@pytest.mark.parametrize(
    "held_out",
    [SOME, np.arange(ROWS - 200, ROWS), np.arange(200), np.arange(ROWS - 300, ROWS - 100), np.empty(0, np.int64)],
    ids=["anywhere", "the last", "the first", "near the end", "none"],
)
def test_every_row_has_its_own_label_in_the_end(vectors: Vector, held_out: np.ndarray) -> None:
    graph = Graph(vectors, held_out)
    graph.fill(lambda done: None)
    inside = np.setdiff1d(np.arange(ROWS), held_out)
    assert sorted(graph.order.tolist()) == inside.tolist()
    graph.complete()
    stored = faiss.downcast_index(graph.index.storage).reconstruct_n(0, ROWS)
    assert np.allclose(stored, vectors, atol=1e-3)
    parameters = faiss.SearchParametersHNSW(efSearch=64)
    found = graph.index.search(vectors, 10, params=parameters)[1]
    assert np.mean(found[:, 0] == np.arange(ROWS)) > 0.999
    truth = np.argsort(-(vectors @ vectors.T), axis=1)[:, :10]
    assert np.mean([len(set(one) & set(other)) / 10 for one, other in zip(found, truth, strict=True)]) > 0.98


def test_rows_held_out_are_not_found_before_they_are_in(vectors: Vector) -> None:
    graph = Graph(vectors, SOME)
    graph.fill(lambda done: None)
    found = graph.order[graph.index.search(vectors, 5)[1]]
    assert not np.isin(found, SOME).any()


def test_links_lead_to_nodes_of_their_own_level(vectors: Vector) -> None:
    """Nodes that exchange places are on the same levels; a link on a level that its end is not on would crash faiss."""
    graph = Graph(vectors, SOME)
    graph.fill(lambda done: None)
    graph.complete()
    hnsw = graph.index.hnsw
    levels, offsets = faiss.vector_to_array(hnsw.levels), faiss.vector_to_array(hnsw.offsets)
    links = faiss.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size())
    assert (levels[hnsw.entry_point], len(levels)) == (levels.max(), ROWS)
    for node in np.flatnonzero(levels > 1):
        upper = links[offsets[node] + hnsw.nb_neighbors(0) : offsets[node + 1]]
        assert (levels[upper[upper >= 0]] > 1).all()


def test_says_how_far_it_is_before_each_chunk(vectors: Vector) -> None:
    said: list[int] = []
    Graph(vectors, np.arange(100)).fill(said.append)
    assert said == [0, CHUNK, 2 * CHUNK]


def test_what_the_tick_raises_ends_the_filling(vectors: Vector) -> None:
    def stop(done: int) -> None:
        if done:
            raise InterruptedError

    graph = Graph(vectors, np.empty(0, np.int64))
    with pytest.raises(InterruptedError):
        graph.fill(stop)
    assert graph.index.ntotal == CHUNK
