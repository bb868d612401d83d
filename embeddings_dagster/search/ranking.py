"""The order of hits: rows, best first, gathered into groups that are one hit each.

Hits come as one stream that ends with the index, and a page is a stretch of it. The stream depends on the question, the
generations and the size of its first step alone, so that pages asked for one by one neither repeat a hit nor skip one.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from embeddings_dagster.ids import Key

GROWTH = 4  # each step asks for so many times the rows of the one before: few steps, little fetched for nothing


class Row(NamedTuple):
    """A row that was found. `scores` are those of each model, None where its index has not the row."""

    key: Key
    score: float
    scores: tuple[float | None, ...]
    batch: str
    input_hash: str

    @property
    def order(self) -> tuple[float, Key]:
        """Sorts the best first, equal ones by key."""
        return -self.score, self.key


class Found(NamedTuple):
    """The best rows, best first; `all`: there are no others."""

    rows: Sequence[Row]
    all: bool


@dataclass(slots=True)
class Group:
    """One hit: its best row, other regions of that image, and other images that are as good as the same."""

    best: Row
    others: list[Row] = field(default_factory=list)
    folded: dict[str, None] = field(default_factory=dict)

    def take(self, row: Row) -> None:
        """Add a row that comes after the best."""
        if row.key.image_id == self.best.key.image_id:
            self.others.append(row)
        else:
            self.folded[row.key.image_id] = None


Fetch = Callable[[int], Found]
# A row joins the hit that has one of its marks, the first of them that any has. A hit has the marks of its best row,
# and of all others their first: two pages that share a panel are one hit where that panel was found best, else two.
Marks = Callable[[Row], Sequence[Hashable]]


def ranked(fetch: Fetch, marks: Marks, first: int, spare: int) -> Iterator[Group]:
    """Every hit, best first.

    `fetch` gives the best rows, as many as asked for where there are as many; it is asked for `spare` times the hits
    that are wanted, `first` of them at first. Every step gathers all rows anew, so that what is one hit does not hang
    on where a step ended.
    """
    shown: set[Hashable] = set()
    count, wanted = 0, float(first)
    while True:
        rows, is_all = fetch(math.ceil(wanted * spare))
        wanted = math.inf if is_all else wanted
        for group, its in _gathered(rows, marks):
            if count >= wanted:
                break
            if shown.isdisjoint(its):
                shown |= its
                count += 1
                yield group
        if is_all:
            return
        wanted *= GROWTH


def _gathered(rows: Sequence[Row], marks: Marks) -> list[tuple[Group, set[Hashable]]]:
    """The groups of rows, best first, with their marks."""
    groups: list[tuple[Group, set[Hashable]]] = []
    place: dict[Hashable, int] = {}
    for row in rows:
        its = marks(row)
        at = next((place[mark] for mark in its if mark in place), None)
        if at is None:
            place |= dict.fromkeys(its, len(groups))
            groups.append((Group(row), set(its)))
        else:
            group, known = groups[at]
            group.take(row)
            known.add(its[0])
            place[its[0]] = at
    return groups
