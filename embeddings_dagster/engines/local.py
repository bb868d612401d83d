"""Encoding in this process, on this machine's CPU or GPU."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from embeddings_dagster.encoders import Decode, Encoded, Unit, Vectors, encode_units, load
from embeddings_dagster.settings_models import ModelSettings


class LocalEngine:
    """The model is loaded on first use and stays in memory for the next batch.

    `cache` is the project's local folder of derived files, where compiled models are kept.
    """

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache

    def encode(
        self, model: ModelSettings, units: Iterable[Unit], decode: Decode, *, stop: threading.Event | None = None
    ) -> Iterator[Encoded]:
        """See `Engine.encode`."""
        encoder = load(model, cache=self._cache)
        yield from encode_units(encoder, units, decode, batch_size=model.batch_size, threads=model.threads, stop=stop)

    def encode_texts(self, model: ModelSettings, texts: Sequence[str]) -> Vectors:
        """See `Engine.encode_texts`."""
        return load(model, cache=self._cache).encode_long_text(texts)
