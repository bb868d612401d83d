"""The generation that a model's searches read, opened once and kept until a newer one lands.

Looking for a newer one costs two listings, at most once a second, and never makes a search wait that already has one.
A search holds the generation it began with to its end, though its files be deleted; and one that goes while it is being
opened, since a newer one came, costs no search.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from embeddings_dagster.errors import EmbeddingsError, IndexUnavailable, UnknownItem
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
        same = known if known and known.record.fingerprint == record.fingerprint else None
        opened = Opened(record, registry, _newest(generations, same.generation if same else None), time.monotonic())
        self._opened[model] = opened
        return opened


def _newest(generations: Generations, known: Generation | None) -> Generation:
    """The newest generation, opened; `known` is one that is open already.

    Raises:
        IndexUnavailable: there is none any more.
        CorruptFile: a file of it is damaged or missing.
    """
    tried = 0
    while True:
        newest = max(generations.numbers(), default=0)
        if not newest:
            raise IndexUnavailable(
                f"the index of model {generations.model!r} is not there any more; make it with `embeddings run`"
            )
        if known is not None and known.manifest.version == newest:
            return known
        try:
            return Generation.open(generations, generations.get(newest))
        except (EmbeddingsError, OSError, RuntimeError):  # faiss raises the last where a file has gone
            if newest <= tried or max(generations.numbers(), default=0) == newest:
                raise
            tried = newest
