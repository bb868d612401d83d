"""Texts and pictures to vectors of an index's space, by the very model that made the index's vectors.

A model is loaded when it is first needed and stays. Whether its files are still those is looked at, at most once a
second.
"""

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from embeddings_dagster.encoders import Encoder, encode_image, identify, load, unit_length
from embeddings_dagster.errors import ImageError, ModelUnavailable
from embeddings_dagster.images import Workshop
from embeddings_dagster.search.queries import ImageQuery
from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.calibration import bring_here
from embeddings_dagster.stages.models import ModelRecord
from embeddings_dagster.stages.opened import decode_rules
from embeddings_dagster.store import Store

LOOK_SECONDS = 1.0

Vector = npt.NDArray[np.float32]


class Encoders:
    """The models behind the indexes of a store. Safe to share among threads."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._rules = decode_rules(settings)
        self._proven: dict[tuple[str, str], float] = {}  # model and fingerprint -> when, in monotonic seconds

    def texts(self, record: ModelRecord, texts: Sequence[str]) -> list[Vector]:
        """A vector for each text, float32 (D,).

        Raises:
            ModelUnavailable: the model's files are not those any more.
            ModelError: it knows no words.
        """
        return list(self._encoder(record).encode_text(texts)) if texts else []

    def picture(self, record: ModelRecord, query: ImageQuery) -> Vector:
        """The vector of a picture, float32 (D,).

        Raises:
            ItemError: it cannot be read or decoded.
            ModelUnavailable: the model's files are not those any more.
        """
        data = self.read(query)
        encoder = self._encoder(record)
        try:
            with Workshop(self._rules) as pictures:
                picture = pictures.decode(data, at_least=encoder.enough)
        except ImageError as error:
            raise type(error)(f"{query}: {error}") from error
        vector: Vector = unit_length(encode_image(encoder, picture)[np.newaxis])[0]
        return vector

    def read(self, query: ImageQuery) -> bytes:
        """A picture's bytes. Raises ReadFailed, TooManyBytes."""
        return query.read(self._rules.max_bytes)

    def _encoder(self, record: ModelRecord) -> Encoder:
        """The very model that made the index's vectors, on the device that the settings say now.

        Raises:
            ModelUnavailable: its files are not those any more.
        """
        settings = self._loaded_as(record)
        key = (record.name, record.fingerprint)
        if time.monotonic() - self._proven.get(key, -LOOK_SECONDS) >= LOOK_SECONDS:
            self._prove(record, settings)
            self._proven[key] = time.monotonic()
        return load(settings, cache=self._store.cache)

    def _loaded_as(self, record: ModelRecord) -> ModelSettings:
        now = self._settings.spaces[record.name]
        settings = record.model_settings()
        change: dict[str, object] = {"device": now.device, "streams": None}
        if settings.precision != "int8":  # a query is one picture: it gets the exact vector, whatever the others have
            change |= {"precision": "fp32", "backend": "torch"}
        return settings.model_copy(update=change)

    def _prove(self, record: ModelRecord, settings: ModelSettings) -> None:
        found = identify(settings)
        if found.fingerprint != record.fingerprint:
            raise ModelUnavailable(
                f"the index of model {record.name!r} was made by {settings.model!r} with fingerprint {record.fp12}, "
                f"but its files now have {found.fp12}: `embeddings run` encodes with those; or put the old files back"
            )
        bring_here(self._store, record.name, settings)
