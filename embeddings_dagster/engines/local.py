"""Encoding in this process, on this machine's CPU or GPU."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

from embeddings_dagster.encoders import BatchSize, Decode, Encoded, Encoder, Unit, Vectors, encode_units, load
from embeddings_dagster.settings_models import ModelSettings


class LocalEngine:
    """The model is loaded on first use and stays in memory for the next batch.

    `cache` is the project's local folder of derived files, where compiled models are kept.
    """

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache
        self._sizes: WeakKeyDictionary[Encoder, BatchSize] = WeakKeyDictionary()

    def encode(
        self, model: ModelSettings, units: Iterable[Unit], decode: Decode, *, stop: threading.Event | None = None
    ) -> Iterator[Encoded]:
        """See `Engine.encode`."""
        encoder = load(model, cache=self._cache)
        size = self._size(encoder, model.batch_size)
        yield from encode_units(encoder, units, decode, batch_size=size, threads=model.threads, stop=stop)

    def encode_texts(self, model: ModelSettings, texts: Sequence[str]) -> Vectors:
        """See `Engine.encode_texts`."""
        return load(model, cache=self._cache).encode_long_text(texts)

    def _size(self, encoder: Encoder, said: int | str) -> BatchSize:
        """What the settings say; `auto` goes on from what was found to be fast for this model in the batch before."""
        if isinstance(said, int):
            return BatchSize.of(said, device=encoder.device)
        return self._sizes.setdefault(encoder, BatchSize.of(said, device=encoder.device))
