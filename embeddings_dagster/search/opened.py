"""The generation that a model's searches read, opened once and kept until a newer one lands.

Looking for a newer one costs two listings, at most once a second, and never makes a search wait that already has one.
A search holds the generation it began with to its end.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from embeddings_dagster.errors import IndexUnavailable, UnknownItem
from embeddings_dagster.index import Generation, Generations
from embeddings_dagster.stages.models import ModelRecord, newest_version, records, serving
from embeddings_dagster.store import Store

LOOK_SECONDS = 1.0
KEPT_OLD = 4  # older generations, for those who go on from a page of theirs


@dataclass(frozen=True)
class Opened:
    """The serving fingerprint of a model and its newest generation, as of `looked` (monotonic seconds)."""

    record: ModelRecord
    registry: int
    generation: Generation
    looked: float

    @property
    def number(self) -> int:
        return self.generation.manifest.version


class OpenedIndexes:
    """The opened generation of each model. Safe to share among threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._opened: dict[str, Opened] = {}
        self._old: OrderedDict[tuple[str, str, int], Opened] = OrderedDict()
        self._looking = threading.Lock()

    def get(self, model: str) -> Opened:
        """What searches of `model` read now.

        Raises:
            IndexUnavailable: there is nothing to search yet.
            CorruptFile: a file of the index is damaged.
        """
        known = self._opened.get(model)
        if known is not None and time.monotonic() - known.looked < LOOK_SECONDS:
            return known
        if not self._looking.acquire(blocking=known is None):
            assert known is not None
            return known  # another thread is looking already
        try:
            return self._look(model)
        finally:
            self._looking.release()

    def at(self, model: str, fp12: str, number: int) -> Opened:
        """What searches of `model` read when that was its newest generation.

        Raises:
            UnknownItem: it is not kept any more.
            IndexUnavailable: there is nothing to search yet.
            CorruptFile: a file of the index is damaged.
        """
        now = self.get(model)
        if (now.record.fp12, now.number) == (fp12, number):
            return now
        with self._looking:
            known = self._old.get((model, fp12, number)) or self._open_old(model, fp12, number)
            self._old[model, fp12, number] = known
            self._old.move_to_end((model, fp12, number))
            while len(self._old) > KEPT_OLD:
                self._old.popitem(last=False)
            return known

    def _open_old(self, model: str, fp12: str, number: int) -> Opened:
        record = next((each for each in records(self._store, model) if each.fp12 == fp12), None)
        if record is None:
            raise UnknownItem(f"model {model!r} has no fingerprint {fp12} any more")
        generations = Generations(self._store, model, fp12)
        return Opened(record, 0, Generation.open(generations, generations.get(number)), time.monotonic())

    def refresh(self) -> None:
        """Look for newer generations of all models that were searched, now."""
        with self._looking:
            for model in list(self._opened):
                self._look(model)

    def _look(self, model: str) -> Opened:
        known = self._opened.get(model)
        registry = newest_version(self._store, model)
        record = known.record if known and known.registry == registry else serving(self._store, model)
        if record is None:
            raise IndexUnavailable(f"model {model!r} has no index yet; make one with `embeddings run`")
        generations = Generations(self._store, model, record.fp12)
        newest = max(generations.numbers(), default=0)
        if not newest:
            raise IndexUnavailable(f"the index of model {model!r} is not there any more; make it with `embeddings run`")
        if known and known.record.fingerprint == record.fingerprint and known.number == newest:
            generation = known.generation
        else:
            generation = Generation.open(generations, generations.get(newest))
        opened = Opened(record, registry, generation, time.monotonic())
        self._opened[model] = opened
        return opened
