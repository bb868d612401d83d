"""The loaded models of a line, and the threads in which they work."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from embeddings_dagster.embedder.preparing import Prepared
from embeddings_dagster.encoders import Encoded, Encoder
from embeddings_dagster.encoders.batch_size import BatchSize
from embeddings_dagster.encoders.work import Work

_log = logging.getLogger(__name__)


class Stage:
    """Models that encode the same pictures; all methods may be called from several threads.

    `lanes` threads encode batches side by side. On a CPU each of them has one core; a picture or two that have the
    machine to themselves go to a thread of their own, in which a model uses all cores.
    """

    def __init__(self, encoders: Mapping[str, Encoder], batch_size: int | str) -> None:
        self.encoders = encoders
        self._sizes = {name: BatchSize.of(batch_size, device=each.device) for name, each in encoders.items()}
        self._works = {name: Work(encoder, self._sizes[name]) for name, encoder in encoders.items()}
        self._on_cpu = all(encoder.device == "cpu" for encoder in encoders.values())
        self.lanes = max(encoder.streams for encoder in encoders.values())
        self.bytes_of_a_region = sum(each.image_size[0] * each.image_size[1] * 3 * 4 for each in encoders.values())
        # Not a method of this: the threads would keep it, and it them, so that what is never closed would never end.
        begin = partial(_begin, tuple(encoders.values()))
        self._pool = ThreadPoolExecutor(self.lanes, thread_name_prefix="embedder-encode", initializer=begin)
        self._alone = ThreadPoolExecutor(1, thread_name_prefix="embedder-alone")

    @property
    def size(self) -> int:
        """Pictures in a batch."""
        return max(size.current for size in self._sizes.values())

    def lane(self, quiet: bool, waiting: int) -> ThreadPoolExecutor:
        """Where to encode `waiting` pictures; `quiet`: there are no others on the line."""
        return self._alone if self._on_cpu and quiet and waiting < self.lanes else self._pool

    def encode(self, batch: Sequence[Prepared]) -> dict[str, list[Encoded]]:
        """For each model, what became of each picture's unit.

        Raises:
            EncodeFailed: a model failed for a reason that is no single picture's fault.
        """
        return {name: work.encode([each.units[name] for each in batch]) for name, work in self._works.items()}

    def close(self) -> None:
        """End the threads; what they have not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._alone.shutdown(wait=True, cancel_futures=True)


def _begin(encoders: Iterable[Encoder]) -> None:
    for encoder in encoders:
        try:
            encoder.begin_stream()
        except Exception as error:  # a thread that fails to begin would leave its pictures unanswered for ever
            _log.warning("the model %r runs without a stream of its own (%s)", encoder.name, error)
