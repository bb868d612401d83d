"""Rows of the very same vector, told by its bytes: an index holds the first of each, and answers with all of them.

A graph over rows of which thousands are one vector, as placeholders for missing product pictures are, falls apart: they
fill their lists of neighbours with each other, and ways through them end there (measured: with a fifth of 30,000 rows
repeated, 7 to 10 % of the others did not find themselves, whatever the length of the list). So what is compared are
nodes, which are the distinct vectors in the order of their first rows. The other rows of a node are its copies; which
they are is a file of the segment. Where no row is repeated there is no such file, and nodes are rows.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from embeddings_dagster.index.scores import Labels, Vector, Vectors, best
from embeddings_dagster.index.selection import Mask

DIGEST = 16  # bytes


class Copies:
    """Which rows stand for which node. Never changed, so safe to share among threads."""

    def __init__(self, rows: int, labels: Labels, nodes: Labels) -> None:
        """The row `labels[i]` is a copy of node `nodes[i]`; ordered by node, then by label."""
        self.rows, self.labels, self.nodes = rows, labels, nodes
        first = np.ones(rows if len(labels) else 0, bool)
        first[labels] = False
        self._firsts = np.flatnonzero(first)

    @classmethod
    def none(cls, rows: int) -> "Copies":
        """Every row is a node."""
        return cls(rows, np.empty(0, np.int64), np.empty(0, np.int64))

    @classmethod
    def among(cls, blocks: Iterable[Vector]) -> "Copies":
        """Those among the rows of some blocks (n, D), one after the other. Keeps 16 bytes of each row."""
        found = bytearray()
        for block in blocks:
            found += b"".join(hashlib.blake2b(row.tobytes(), digest_size=DIGEST).digest() for row in block)
        halves = np.frombuffer(found, np.uint64).reshape(-1, 2)
        order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: the first row of each kind is its first here
        repeats = np.zeros(len(order), bool)
        repeats[1:] = (halves[order[1:]] == halves[order[:-1]]).all(axis=1)
        kinds = order[np.maximum.accumulate(np.where(repeats, 0, np.arange(len(order))))]
        labels, firsts = order[repeats], kinds[repeats]
        nodes = firsts - np.searchsorted(np.sort(labels), firsts)  # less the copies before it
        by_node = np.lexsort((labels, nodes))
        return cls(len(order), labels[by_node], nodes[by_node])

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def count(self) -> int:
        """How many nodes there are."""
        return self.rows - len(self.labels)

    def firsts(self, nodes: Labels | slice = slice(None)) -> Labels:
        """The first row of some nodes, or of all."""
        return self._firsts[nodes] if len(self) else np.arange(self.rows)[nodes] if isinstance(nodes, slice) else nodes

    def distinct(self, vectors: Vector) -> Vectors:
        """The vectors of the nodes, out of those of the rows."""
        return _Distinct(vectors, self._firsts) if len(self) else vectors

    def mask(self, allowed: Mask) -> Mask:
        """The nodes that have a row which is allowed."""
        if not len(self):
            return allowed
        found: Mask = allowed.take(self._firsts)
        found[self.nodes[allowed.take(self.labels)]] = True
        return found

    def allows(self, allowed: Mask, nodes: Labels) -> Mask:
        """Whether each of some nodes has a row which is allowed."""
        if not len(self):
            return allowed[nodes]
        labels, places = self._others(nodes)
        found: Mask = allowed[self._firsts[nodes]]
        found[places[allowed[labels]]] = True
        return found

    def answer(self, nodes: Labels, scores: Vector, allowed: Mask, k: int) -> tuple[Labels, Vector]:
        """The `k` best rows that are allowed, and all that score as much as the last of them, best first: of nodes
        each of which has one."""
        if not len(self):
            return best(nodes, scores, k)
        labels, places = self._others(nodes)
        labels, scores = np.concatenate([self._firsts[nodes], labels]), np.concatenate([scores, scores[places]])
        kept = allowed[labels]
        return best(labels[kept], scores[kept], k)

    def _others(self, nodes: Labels) -> tuple[Labels, npt.NDArray[np.intp]]:
        """The copies of some nodes, and the place among those of the node of each."""
        starts = self.nodes.searchsorted(nodes)
        counts = self.nodes.searchsorted(nodes, side="right") - starts
        places = np.repeat(np.arange(len(nodes)), counts)
        ends = np.cumsum(counts)
        which = np.arange(len(places)) + np.repeat(starts - ends + counts, counts)
        return self.labels[which], places


class _Distinct:
    """Some rows of an array of vectors, read when they are asked for."""

    def __init__(self, vectors: Vector, rows: Labels) -> None:
        self._vectors, self._rows = vectors, rows
        self.shape = (len(rows), vectors.shape[1])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, places: Labels | slice) -> Vector:
        found: Vector = self._vectors[self._rows[places]]
        return found
