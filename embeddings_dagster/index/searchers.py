"""The two ways to search the rows of one segment: by comparing all of them, and along a graph.

Either gives the best rows among those allowed with their exact scores, best first, and beside the `k` best all that
score as much as the last of them. Safe to share among threads.
"""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embeddings_dagster.index import strategy
from embeddings_dagster.index.library import library, one_thread
from embeddings_dagster.index.scores import (
    FLOAT16,
    FLOAT32,
    SPARE,
    Labels,
    Rounding,
    Vector,
    best,
    best_of_all,
    exact_scores,
)
from embeddings_dagster.index.selection import Mask

Found = tuple[Labels, Vector]

NOTHING: Found = (np.empty(0, np.int64), np.empty(0, np.float32))


class Searcher(Protocol):
    """`search` takes a query, float32 (D,), how many, and a value for each row that says whether it is allowed."""

    def search(self, query: Vector, k: int, allowed: Mask) -> Found: ...


class FlatSearcher:
    """Exact: compares every row that is allowed."""

    def __init__(self, index: Any, vectors: Vector, rounding: Rounding = FLOAT32) -> None:
        """`index`: any faiss index that compares everything and knows selectors; labels are rows of `vectors`."""
        self._index, self._vectors, self._rounding = index, vectors, rounding

    def search(self, query: Vector, k: int, allowed: Mask) -> Found:
        """See `Searcher`."""
        possible = int(np.count_nonzero(allowed))
        k = min(k, possible)
        if k == 0:
            return NOTHING
        if strategy.is_looked_up(len(allowed), possible):
            labels = np.flatnonzero(allowed)
            return best(labels, exact_scores(self._vectors, labels, query), k)
        parameters = _selecting(allowed) if possible < len(allowed) else None

        def candidates(count: int) -> Labels:
            with one_thread():
                labels: Labels = self._index.search(query[np.newaxis], count, params=parameters)[1][0]
                return labels

        return best_of_all(candidates, possible, self._vectors, query, k, self._rounding)


class GraphSearcher:
    """As exact as was tuned: along an HNSW graph where that is cheaper, else by comparing all that is allowed."""

    def __init__(self, index: Any, vectors: Vector, ef: int) -> None:
        """`index`: an IndexHNSWSQ; `ef`: the length of the list that keeps the promise."""
        self._index, self._vectors, self._ef = index, vectors, ef
        self._scan = FlatSearcher(library().downcast_index(index.storage), vectors, FLOAT16)

    def search(self, query: Vector, k: int, allowed: Mask) -> Found:
        """See `Searcher`. How it goes about a filter: see `strategy`."""
        rows, possible = len(allowed), int(np.count_nonzero(allowed))
        k = min(k, possible)
        if k == 0:
            return NOTHING
        places, spent = strategy.first_places(self._ef, k, rows, possible), 0.0
        while strategy.is_worth_it(places, spent, rows, possible):
            listed = explore(self._index, query, places)
            ranks = np.flatnonzero(allowed[listed])
            if len(listed) < min(places, rows):
                break  # a part of the graph that leads nowhere else
            if len(ranks) >= k and (strategy.is_complete(int(ranks[k - 1]), places) or places == rows):
                labels = listed[ranks[: k + SPARE]]
                return best(labels, exact_scores(self._vectors, labels, query), k)
            spent += strategy.graph_cost(places)
            places = min(2 * places, rows)
        return self._scan.search(query, k, allowed)


def explore(index: Any, query: Vector, places: int) -> Labels:
    """The list of a search of the graph, best first by float16: `places` labels, or all that can be reached."""
    parameters = library().SearchParametersHNSW(efSearch=places)
    with one_thread():
        labels: Labels = index.search(query[np.newaxis], places, params=parameters)[1][0]
    return labels[labels >= 0]


def _selecting(allowed: npt.NDArray[np.bool_]) -> Any:
    """What restricts a faiss search to the allowed labels."""
    selector = library().IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    return library().SearchParameters(sel=selector)
