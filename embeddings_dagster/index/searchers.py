"""The two ways to search the rows of one segment: by comparing all of them, and along a graph.

Either gives the best rows among those allowed with their exact scores, best first, and beside the `k` best all that
score as much as the last of them. What is compared are nodes, and rows are what is allowed and answered: see `copies`.
Safe to share among threads.
"""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embeddings_dagster.index import strategy
from embeddings_dagster.index.copies import Copies
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

    def __init__(self, index: Any, vectors: Vector, copies: Copies, rounding: Rounding = FLOAT32) -> None:
        """`index`: any faiss index of the nodes that compares everything and knows selectors."""
        self._index, self._vectors, self._copies, self._rounding = index, vectors, copies, rounding
        self._distinct = copies.distinct(vectors)

    def search(self, query: Vector, k: int, allowed: Mask) -> Found:
        """See `Searcher`."""
        possible = int(np.count_nonzero(allowed))
        k = min(k, possible)
        if k == 0:
            return NOTHING
        if strategy.is_looked_up(len(allowed), possible):
            labels = np.flatnonzero(allowed)
            return best(labels, exact_scores(self._vectors, labels, query), k)
        mask = self._copies.mask(allowed)
        nodes = int(np.count_nonzero(mask))
        parameters = _selecting(mask) if nodes < len(mask) else None

        def candidates(count: int) -> Labels:
            with one_thread():
                found: Labels = self._index.search(query[np.newaxis], count, params=parameters)[1][0]
                return found

        best_nodes = best_of_all(candidates, nodes, self._distinct, query, min(k, nodes), self._rounding)
        return self._copies.answer(*best_nodes, allowed, k)


class GraphSearcher:
    """As exact as was tuned: along an HNSW graph where that is cheaper, else by comparing all that is allowed."""

    def __init__(self, index: Any, vectors: Vector, ef: int, copies: Copies) -> None:
        """`index`: an IndexHNSWSQ of the nodes; `ef`: the length of the list that keeps the promise."""
        self._index, self._ef, self._copies = index, ef, copies
        self._distinct = copies.distinct(vectors)
        self._scan = FlatSearcher(library().downcast_index(index.storage), vectors, copies, FLOAT16)

    def search(self, query: Vector, k: int, allowed: Mask) -> Found:
        """See `Searcher`. How it goes about a filter: see `strategy`."""
        rows, possible = len(allowed), int(np.count_nonzero(allowed))
        k = min(k, possible)
        if k == 0:
            return NOTHING
        nodes, spent = self._copies.count, 0.0
        places = min(strategy.first_places(self._ef, k, rows, possible), nodes)
        while strategy.is_worth_it(places, spent, rows, min(possible, nodes)):
            listed = explore(self._index, query, places)
            ranks = np.flatnonzero(self._copies.allows(allowed, listed))
            if len(listed) < places:
                break  # a part of the graph that leads nowhere else
            if places == nodes or (len(ranks) >= k and strategy.is_complete(int(ranks[k - 1]), places)):
                found = listed[ranks[: k + SPARE]]
                return self._copies.answer(found, exact_scores(self._distinct, found, query), allowed, k)
            spent += strategy.graph_cost(places)
            places = min(2 * places, nodes)
        return self._scan.search(query, k, allowed)


def explore(index: Any, query: Vector, places: int) -> Labels:
    """The list of a search of the graph, best first by float16: `places` nodes, or all that can be reached."""
    parameters = library().SearchParametersHNSW(efSearch=places)
    with one_thread():
        nodes: Labels = index.search(query[np.newaxis], places, params=parameters)[1][0]
    return nodes[nodes >= 0]


def _selecting(allowed: npt.NDArray[np.bool_]) -> Any:
    """What restricts a faiss search to the allowed labels."""
    selector = library().IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    return library().SearchParameters(sel=selector)
