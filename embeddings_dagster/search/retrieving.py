"""The best rows of one index, or of several together: candidates of each, scored exactly by all over their union."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from embeddings_dagster.ids import Key
from embeddings_dagster.index import Hit, Selection
from embeddings_dagster.index.scores import exact_scores
from embeddings_dagster.index.selection import Mask
from embeddings_dagster.search.encoding import Vector
from embeddings_dagster.search.opened import Opened
from embeddings_dagster.search.ranking import Fetch, Found, Row

FUSED = 200  # candidates of each of several models, at least: what one of them puts far down may still be best of all


@dataclass(frozen=True)
class Asked:
    """A model's part in a question: what it is asked, among which rows, and its share in the score. `copies`: rows
    with the same hash show the same picture, which is not so for texts."""

    opened: Opened
    share: float
    vector: Vector
    selection: Selection
    copies: bool

    def hits(self, count: int, without: Collection[str]) -> list[Hit]:
        """Its `count` best rows, but for those of some images."""
        return self.opened.generation.search(self.vector, count, self.selection, without=without)

    def scores(self, keys: Sequence[Key]) -> tuple[Vector, Mask]:
        """The score of each row, to the bit as the index itself gives it, and whether the index has the row; 0 where it
        has not."""
        vectors, there = self.opened.generation.vectors(keys)
        return exact_scores(vectors, np.arange(len(keys)), self.vector), there

    def hash_of(self, hit: Hit) -> str:
        return hit.input_hash if self.copies else ""


def fetching(asked: Sequence[Asked], without: Collection[str], unwanted: Collection[str]) -> Fetch:
    """What gives the best rows. None of the images `without`, and none that was made from what is `unwanted`, by its
    hash, is among them."""
    fetch = partial(_of_one, asked[0]) if len(asked) == 1 else partial(_of_several, asked)
    return partial(fetch, without, frozenset(unwanted))


def _of_one(asked: Asked, without: Collection[str], unwanted: Collection[str], count: int) -> Found:
    hits = asked.hits(count + len(unwanted), without)
    rows = [
        Row(Key(hit.image_id, hit.region), hit.score, (hit.score,), hit.batch, asked.hash_of(hit))
        for hit in hits
        if hit.input_hash not in unwanted
    ]
    return Found(rows, len(hits) < count + len(unwanted))


def _of_several(asked: Sequence[Asked], without: Collection[str], unwanted: Collection[str], count: int) -> Found:
    candidates = max(count, FUSED) + len(unwanted)
    found: dict[Key, tuple[str, str]] = {}
    is_all = True
    for each in asked:
        hits = each.hits(candidates, without)
        is_all = is_all and len(hits) < candidates
        for hit in hits:
            if hit.input_hash not in unwanted:
                key = Key(hit.image_id, hit.region)
                batch, hash_ = found.get(key, (hit.batch, ""))
                found[key] = (batch, hash_ or each.hash_of(hit))
    keys = list(found)
    scored = [each.scores(keys) for each in asked]
    parts = [each.share * scores.astype(np.float64) for each, (scores, _) in zip(asked, scored, strict=True)]
    totals = np.sum(parts, axis=0)
    rows = [
        Row(keys[place], float(totals[place]), _said(scored, place), *found[keys[place]])
        for place in _best(totals, count)
    ]
    return Found(sorted(rows, key=lambda row: row.order)[:count], is_all and len(keys) <= count)


def _best(totals: npt.NDArray[np.float64], count: int) -> list[int]:
    """Where the `count` best are, and all that are as good as the last of them."""
    if count >= len(totals):
        return list(range(len(totals)))
    found: list[int] = np.flatnonzero(totals >= np.partition(totals, -count)[-count]).tolist()
    return found


def _said(scored: Sequence[tuple[Vector, Mask]], place: int) -> tuple[float | None, ...]:
    return tuple(float(scores[place]) if there[place] else None for scores, there in scored)
