"""The generation that a model's searches read, opened once and kept until a newer one lands.

Looking for a newer one costs two listings, at most once a second, and never makes a search wait that already has one.
A search holds the generation it began with to its end.
"""

import threading
import time
from dataclasses import dataclass

from embeddings_dagster.errors import IndexUnavailable
from embeddings_dagster.index import Generation, Generations
from embeddings_dagster.stages.models import ModelRecord, newest_version, serving
from embeddings_dagster.store import Store

LOOK_SECONDS = 1.0


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
