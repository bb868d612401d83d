"""HNSW graphs that plain faiss opens, in which every row is found although some are repeated.

As in segments, the graph is made of the distinct vectors: see `index.copies` (of 13,000 rows with 2,000 of one vector,
2 to 17 % of the others did not find themselves). Plain faiss knows no file of copies, so here they hang on the first of
their kind, as a tree.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from embeddings_dagster.index.copies import Copies
from embeddings_dagster.index.library import library

M = 32
EF_CONSTRUCTION = 100
WIDTH = 2 * M  # neighbours of a row in the lowest layer, where all rows are

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


def build_graph(dimension: int, distinct: Iterable[Vectors]) -> Any:
    """An `IndexHNSWFlat` with inner product over vectors that are all different, labelled as they come."""
    faiss = library()
    graph = faiss.IndexHNSWFlat(dimension, M, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = EF_CONSTRUCTION
    for block in distinct:
        if len(block):
            graph.add(block)
    return graph


def distinct(blocks: Iterable[Vectors], copies: Copies) -> Iterator[Vectors]:
    """The first row of each kind."""
    firsts, start = copies.firsts(), 0
    for block in blocks:
        here = slice(*np.searchsorted(firsts, [start, start + len(block)]))
        yield block[firsts[here] - start]
        start += len(block)


def with_copies(graph: Any, copies: Copies, blocks: Iterable[Vectors]) -> Any:
    """The graph of all rows: that of the distinct ones, with their copies hung on. `blocks` are all vectors."""
    faiss = library()
    firsts, rows = copies.firsts(), copies.rows
    whole = faiss.IndexHNSWFlat(graph.d, M, faiss.METRIC_INNER_PRODUCT)
    for block in blocks:
        whole.storage.add(block)
    whole.ntotal = rows
    levels = np.ones(rows, np.int32)
    levels[firsts] = faiss.vector_to_array(graph.hnsw.levels)
    faiss.copy_array_to_vector(levels, whole.hnsw.levels)
    whole.hnsw.prepare_level_tab(rows, True)
    whole.hnsw.entry_point = int(firsts[graph.hnsw.entry_point])
    whole.hnsw.max_level = graph.hnsw.max_level
    whole.hnsw.efConstruction = graph.hnsw.efConstruction
    offsets = faiss.vector_to_array(whole.hnsw.offsets).astype(np.int64)
    links = _links(whole)
    _copy(graph, firsts, links, offsets)
    nodes, starts = np.unique(copies.nodes, return_index=True)
    for node, group in zip(nodes, np.split(copies.labels, starts[1:]), strict=True):
        _hang(int(firsts[node]), group, links, offsets)
    return whole


def _links(index: Any) -> npt.NDArray[np.int32]:
    """The neighbours of all rows, as faiss holds them: what is written here is written there."""
    held = index.hnsw.neighbors
    found: npt.NDArray[np.int32] = library().rev_swig_ptr(held.data(), held.size())
    return found


def _copy(graph: Any, firsts: Numbers, links: npt.NDArray[np.int32], offsets: Numbers) -> None:
    """Give the distinct rows the neighbours they have in their own graph."""
    own = library().vector_to_array(graph.hnsw.offsets).astype(np.int64)
    theirs = _links(graph)
    lengths = np.diff(own)
    places = np.repeat(offsets[firsts] - own[:-1], lengths) + np.arange(len(theirs))
    links[places] = np.where(theirs < 0, -1, firsts[theirs])


def _hang(first: int, copies: Numbers, links: npt.NDArray[np.int32], offsets: Numbers) -> None:
    """Hang a vector's copies on its first row: one on that, and on each of them as many as there is room for."""
    own = links[offsets[first] : offsets[first] + WIDTH]
    used = int(np.count_nonzero(own >= 0))
    own[min(used, WIDTH - 1)] = copies[0]
    room = WIDTH - 1  # one is the way back
    for number, row in enumerate(copies):
        own = links[offsets[row] : offsets[row] + WIDTH]
        own[0] = first if number == 0 else copies[(number - 1) // room]
        below = copies[number * room + 1 : (number + 1) * room + 1]
        own[1 : 1 + len(below)] = below
