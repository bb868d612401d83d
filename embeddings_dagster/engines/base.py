"""What an engine promises: the same vectors in the same order, wherever it computes them."""

import threading
from collections.abc import Iterable, Iterator
from typing import Protocol

from embeddings_dagster.encoders import Decode, Encoded, Unit
from embeddings_dagster.settings import ModelSettings


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
