"""What an index has to change, decided by comparing states; pure, so that it can be tested to the last case.

An image may lie in several batches. Each offers all its rows of it, one batch wins, and the index holds the winner's
rows and no other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from embeddings_dagster.ids import Key
from embeddings_dagster.store import Consumed


class Row(NamedTuple):
    """What an index says of a key: the input its vector was made from, and the batch it is taken from."""

    input_hash: str
    batch: str


class Placed(NamedTuple):
    """A row that is in the index, and where."""

    row: Row
    segment: str
    label: int


@dataclass(frozen=True, slots=True)
class Offer:
    """All rows that one batch has of one image: input hash by region. `clean`: none of its regions failed there."""

    batch: str
    newest: str
    clean: bool
    regions: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows to write, and rows that die. An updated row is written anew, and its old one dies."""

    inserted: Mapping[Key, Row]
    updated: Mapping[Key, Row]
    removed: frozenset[Key]
    dead: tuple[Placed, ...]

    @property
    def written(self) -> dict[Key, Row]:
        return {**self.inserted, **self.updated}


@dataclass(frozen=True, slots=True)
class BatchChanges:
    """Batches whose rows must be read, those that moved in the order of batches (be they read or not: a change of rows
    concerns those images, a move all that the batch has), and those that are gone."""

    read: frozenset[str]
    reordered: frozenset[str]
    gone: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.read or self.reordered or self.gone)


def compare_batches(current: Mapping[str, Consumed], consumed: Mapping[str, Consumed]) -> BatchChanges:
    """Which batches differ from what an index has taken in."""
    read, reordered = set(), set()
    for batch, state in current.items():
        before = consumed.get(batch)
        if before is None or (before.content, before.failed) != (state.content, state.failed):
            read.add(batch)
        if before is not None and before.newest != state.newest:
            reordered.add(batch)
    return BatchChanges(frozenset(read), frozenset(reordered), frozenset(consumed.keys() - current.keys()))


def winner(offers: Iterable[Offer]) -> Offer | None:
    """The offer an image is shown from: the newest that is clean, equal ones by batch key.

    Where no batch has the image without a failure, the newest that has any of it: some panels are better than no page.
    """
    return max(offers, key=lambda offer: (offer.clean, offer.newest, offer.batch), default=None)


def wanted_rows(offers: Mapping[str, Iterable[Offer]]) -> dict[Key, Row]:
    """The rows that an index should hold of these images; `offers` is by image id."""
    rows = {}
    for image_id, candidates in offers.items():
        best = winner(candidates)
        if best is not None:
            for region, input_hash in best.regions.items():
                rows[Key(image_id, region)] = Row(input_hash, best.batch)
    return rows


def superseded(offers: Iterable[Offer]) -> int:
    """How many rows of one image are offered, and not shown because another batch wins."""
    offers = list(offers)
    best = winner(offers)
    return sum(len(offer.regions) for offer in offers if offer is not best)


def difference(wanted: Mapping[Key, Row], placed: Mapping[Key, Placed]) -> Difference:
    """What turns the rows that are placed into those that are wanted."""
    inserted = {key: row for key, row in wanted.items() if key not in placed}
    updated = {key: row for key, row in wanted.items() if key in placed and placed[key].row != row}
    removed = frozenset(placed.keys() - wanted.keys())
    dead = tuple(placed[key] for key in (*updated, *sorted(removed)))
    return Difference(inserted, updated, removed, dead)
