"""What an engine promises: the same vectors in the same order, wherever it computes them."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from embeddings_dagster.encoders import Decode, Encoded, Unit, Vectors
from embeddings_dagster.settings_models import ModelSettings


class Engine(Protocol):
    """Somewhere to encode."""

    def encode(
        self, model: ModelSettings, units: Iterable[Unit], decode: Decode, *, stop: threading.Event | None = None
    ) -> Iterator[Encoded]:
        """One `Encoded` for each unit, in their order, with the model, device and batch size that `model` says.

        Raises:
            ModelError: the model cannot be loaded, or failed as a whole.
            Stopped: `stop` was set.
        """

    def encode_texts(self, model: ModelSettings, texts: Sequence[str]) -> Vectors:
        """Vectors (n, D) float32 of norm 1 of whole texts, however long.

        Raises:
            ModelError: the model cannot be loaded, reads no text, or failed.
        """
