"""HNSW graphs that plain faiss opens, in which every row is found although some are repeated.

A graph over rows of which thousands are the very same vector, as placeholders for missing product pictures are, falls
apart: they fill their lists of neighbours with each other, and ways through them end there (measured: of 13,000 rows
with 2,000 such, 2 to 17 % of the others did not find themselves). So the graph is made of the distinct vectors, and
repetitions hang on the first of their kind, as a tree.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

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


class Repeats:
    """Which rows have the vector of an earlier row, told block by block; holds 16 bytes of each distinct vector."""

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}
        self._kinds: list[int] = []

    def take(self, block: Vectors) -> npt.NDArray[np.bool_]:
        """Which of the next rows are the first of their kind."""
        before = len(self._seen)
        kinds = [
            self._seen.setdefault(hashlib.blake2b(row.tobytes(), digest_size=16).digest(), len(self._seen))
            for row in block
        ]
        self._kinds += kinds
        found = np.array(kinds)
        fresh = np.zeros(len(block), bool)
        fresh[np.unique(found, return_index=True)[1]] = True
        return fresh & (found >= before)

    @property
    def any(self) -> bool:
        return len(self._seen) < len(self._kinds)

    def groups(self) -> tuple[Numbers, list[Numbers]]:
        """The row of each distinct vector, and for each of those with repetitions all of its rows, ascending."""
        kinds = np.array(self._kinds, np.int64)
        order = np.argsort(kinds, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1)
        return np.array([group[0] for group in groups], np.int64), [group for group in groups if len(group) > 1]


def with_repeats(graph: Any, repeats: Repeats, blocks: Callable[[], Iterable[Vectors]]) -> Any:
    """The graph of all rows: that of the distinct ones, with repetitions hung on. `blocks` gives all vectors."""
    faiss = library()
    firsts, groups = repeats.groups()
    rows = int(firsts.size + sum(len(group) - 1 for group in groups))
    whole = faiss.IndexHNSWFlat(graph.d, M, faiss.METRIC_INNER_PRODUCT)
    for block in blocks():
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
    for group in groups:
        _hang(group, links, offsets)
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


def _hang(group: Numbers, links: npt.NDArray[np.int32], offsets: Numbers) -> None:
    """Hang a vector's repetitions on its first row: one on that, and on each of them as many as there is room for."""
    first, repeats = group[0], group[1:]
    own = links[offsets[first] : offsets[first] + WIDTH]
    used = int(np.count_nonzero(own >= 0))
    own[min(used, WIDTH - 1)] = repeats[0]
    room = WIDTH - 1  # one is the way back
    for number, row in enumerate(repeats):
        own = links[offsets[row] : offsets[row] + WIDTH]
        own[0] = first if number == 0 else repeats[(number - 1) // room]
        below = repeats[number * room + 1 : (number + 1) * room + 1]
        own[1 : 1 + len(below)] = below
