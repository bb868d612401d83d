"""Encoding in this process, on this machine's CPU or GPU."""

import threading
from collections.abc import Iterable, Iterator

from embeddings_dagster.encoders import Decode, Encoded, Unit, encode_units, load
from embeddings_dagster.settings import ModelSettings


class LocalEngine:
    """The model is loaded on first use and stays in memory for the next batch."""

    def encode(
        self, model: ModelSettings, units: Iterable[Unit], decode: Decode, *, stop: threading.Event | None = None
    ) -> Iterator[Encoded]:
        """See `Engine.encode`."""
        yield from encode_units(
            load(model), units, decode, batch_size=model.batch_size, threads=model.threads, stop=stop
        )
