"""Which rows of an index a question is asked among, as a mask: kinds of regions, sources and batches from the index
itself, conditions on records from the catalogue. The last few are remembered, since pages and people ask again.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from embeddings_dagster.catalog import Filter
from embeddings_dagster.ids import Regions
from embeddings_dagster.index import Generation, Selection
from embeddings_dagster.search.opened import Opened
from embeddings_dagster.search.question import Question
from embeddings_dagster.search.records import Records

KEPT = 32  # a byte for each row of an index


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Rows of one generation, and how many of them are live."""

    selection: Selection
    matching: int


def filter_of(question: Question, regions: Regions) -> Filter:
    """The question's conditions, as the catalogue takes them."""
    return Filter(question.where, question.words, question.sources, question.batches, regions)


class Narrowing:
    """Remembers which rows questions were asked among. Safe to share among threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, Narrowed] = OrderedDict()

    def rows(self, opened: Opened, question: Question, regions: Regions, records: Records | None) -> Narrowed:
        """The rows of an index that `question` is asked among; `records` is needed where it has conditions on them.

        Raises:
            BadQuery: a condition makes no sense.
        """
        wanted = filter_of(question, regions)
        of_records = records if question.asks_records else None
        # The number alone would be that of another generation, where an index was deleted and made anew.
        segments = tuple(segment.entry.uuid for segment in opened.generation.segments)
        key = (
            opened.record.name,
            opened.record.fp12,
            opened.number,
            segments,
            of_records and of_records.number,
            wanted,
        )
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
        found = _narrowed(opened.generation, wanted, of_records)
        with self._lock:
            self._known[key] = found
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found


def _narrowed(generation: Generation, wanted: Filter, records: Records | None) -> Narrowed:
    selection = generation.selection(regions=wanted.regions, sources=wanted.sources, batches=wanted.batches)
    if records is not None:
        selection = selection & Selection(records.masks(generation.segments, wanted))
    live = zip(generation.segments, selection.masks, strict=True)
    return Narrowed(selection, sum(int(np.count_nonzero(segment.live & mask)) for segment, mask in live))
