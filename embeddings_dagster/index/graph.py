"""An HNSW graph in the making: filled from a file of vectors, a chunk at a time, with some rows left out at first.

A graph is tuned on rows that are not in it yet, as a query is not. faiss labels rows in the order they come, so the
places of the rows left out are held by rows of the end meanwhile, and exchanged with them when all are in: the label of
every row is its place in the file, and no vector is in memory twice.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from embeddings_dagster.index.library import library
from embeddings_dagster.index.scores import Labels, Vectors

NEIGHBOURS = 32  # of a node on each level; twice as many on the lowest
EF_CONSTRUCTION = 40  # 80 costs a fifth more and gains less than .01 of recall at the same ef, 128 costs twice as much
CHUNK = 1_024  # rows added between two looks at the stop event: about half a second at 512 dimensions
RELABELLED = 2**22  # links renamed at a time

Tick = Callable[[int], None]


class Graph:
    """The graph of `vectors` (n, D), all of them different; `held_out` are the labels left out, ascending."""

    def __init__(self, vectors: Vectors, held_out: Labels) -> None:
        self._vectors, self._held_out = vectors, held_out
        faiss = library()
        kind = faiss.ScalarQuantizer.QT_fp16
        self.index = faiss.IndexHNSWSQ(vectors.shape[1], kind, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = EF_CONSTRUCTION
        first = len(vectors) - len(held_out)
        end = np.arange(first, len(vectors))
        self._lent = held_out[held_out < first]  # places of rows left out, which the rows of the end hold meanwhile
        self._lodgers = np.setdiff1d(end, held_out)
        self.order = np.arange(first)
        self.order[self._lent] = self._lodgers

    def fill(self, tick: Tick) -> None:
        """Add all rows but those held out; `order[place]` is the label of the row at a place. `tick` is called before
        each chunk, with the number of rows that are in, and may raise."""
        for start in range(0, len(self.order), CHUNK):
            tick(start)
            self._add(self.order[start : start + CHUNK])

    def complete(self) -> None:
        """Add the rows held out, each in its place."""
        if not len(self._held_out):
            return
        levels = library().vector_to_array(self.index.hnsw.levels)
        at_end = np.arange(len(self.order), len(self._vectors))
        rows, drawn = at_end.copy(), levels[: len(at_end)].copy()
        lodging = self._lodgers - len(self.order)
        rows[lodging], drawn[lodging] = self._lent, levels[self._lent]
        library().copy_array_to_vector(np.concatenate([levels, drawn]), self.index.hnsw.levels)
        self._add(rows)
        self._exchange(self._lent, self._lodgers)

    def _add(self, labels: Labels) -> None:
        self.index.add(np.ascontiguousarray(self._vectors[labels]))

    def _exchange(self, some: Labels, others: Labels) -> None:
        """Exchange the places of nodes, which are on the same level in pairs: so their links are as long."""
        hnsw, size = self.index.hnsw, len(self._vectors)
        codes = _view(library().downcast_index(self.index.storage).codes).reshape(size, -1)
        codes[some], codes[others] = codes[others], codes[some]
        links, offsets = _view(hnsw.neighbors), library().vector_to_array(hnsw.offsets)
        for one, other in zip(some, others, strict=True):
            mine, its = (links[offsets[node] : offsets[node + 1]] for node in (one, other))
            mine[:], its[:] = its.copy(), mine.copy()
        renamed = np.arange(size, dtype=np.int32)
        renamed[some], renamed[others] = others, some
        for start in range(0, len(links), RELABELLED):
            chunk = links[start : start + RELABELLED]
            real = chunk >= 0
            chunk[real] = renamed[chunk[real]]
        hnsw.entry_point = int(renamed[hnsw.entry_point])


def _view(vector: Any) -> Any:
    """The numbers of a faiss vector in place."""
    return library().rev_swig_ptr(vector.data(), vector.size())
