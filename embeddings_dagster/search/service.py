"""The search service: one query in, the closest images out, from one generation of one model's index.

A picture that is searched for goes through the same decoding and the same encoder as those in the index, with the very
model that made their vectors, so a picture finds itself with a score of 1.
"""

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embeddings_dagster import ids
from embeddings_dagster.encoders import Encoder, encode_image, identify, load, unit_length
from embeddings_dagster.errors import ImageError, ModelUnavailable, UnknownItem
from embeddings_dagster.images import Workshop
from embeddings_dagster.index import Generation, Hit
from embeddings_dagster.search.locations import find_locations
from embeddings_dagster.search.opened import Opened, OpenedIndexes
from embeddings_dagster.search.queries import IdQuery, ImageQuery, Query, TextQuery, check_hits, make_query
from embeddings_dagster.search.results import Results, SearchHit
from embeddings_dagster.settings import Settings
from embeddings_dagster.sources.tails import find_by_tail, named
from embeddings_dagster.stages.calibration import bring_here
from embeddings_dagster.stages.models import ModelRecord
from embeddings_dagster.stages.opened import decode_rules, model_settings
from embeddings_dagster.store import Store

Vector = npt.NDArray[np.float32]


class SearchService:
    """Searches the indexes of a store. Safe to share among threads; models are loaded when first needed."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._indexes = OpenedIndexes(store)

    def search(
        self,
        text: str | None = None,
        *,
        image: str | Path | bytes | None = None,
        image_id: str | None = None,
        vector: npt.ArrayLike | None = None,
        model: str | None = None,
        k: int = 10,
        regions: bool = False,
    ) -> Results:
        """The `k` images closest to one text, picture (path or bytes), image of the index, or vector.

        `model` is a name of the settings; default: the first one that knows words, else the first. With `regions`,
        parts of images are found as well. An image that is searched for by its id is not among its own hits; the end
        of an id, as of a page's path, is enough where no other image's id ends so.

        Raises:
            BadQuery: not exactly one thing to search for, a `k` out of range, or a vector that does not fit.
            UnknownItem: no such model, or no such image in its index, or several.
            IndexUnavailable: there is no index yet.
            ItemError: the picture cannot be read or decoded.
            ModelError: the model cannot be loaded, or is asked for words that it does not know.
        """
        started = time.monotonic()
        query = make_query(text, image, image_id, vector)
        check_hits(k)
        name = self._model(model)
        opened = self._indexes.get(name)
        if isinstance(query, IdQuery):
            query = IdQuery(_known_id(query.image_id, opened.record.name, opened.generation))
        wanted = self._vector(query, opened)
        without = (query.image_id,) if isinstance(query, IdQuery) else ()
        regions = regions or self._settings.spaces[name].side == "text"  # most texts are those of panels
        allowed = opened.generation.selection(regions=ids.ALL if regions else ids.WHOLE)
        hits = opened.generation.search(wanted, k, allowed, without=without)
        return self._results(str(query), opened, hits, started)

    def refresh(self) -> None:
        """Take up newer generations now; a search does so by itself within a second."""
        self._indexes.refresh()

    def _model(self, name: str | None) -> str:
        if name is not None:
            model_settings(self._settings, name)
            return name
        models = self._settings.models
        if not models:
            raise UnknownItem("the settings name no model; add one under `models`")
        return next((each for each, model in models.items() if model.reads_text), next(iter(models)))

    def _vector(self, query: Query, opened: Opened) -> Vector:
        """The point to search from, float32 (D,)."""
        if isinstance(query, TextQuery):
            vector: Vector = self._encoder(opened.record).encode_text([query.text])[0]
            return vector
        if isinstance(query, ImageQuery):
            return self._encode_picture(query, opened.record)
        if isinstance(query, IdQuery):
            stored = opened.generation.vector(query.image_id)
            assert stored is not None, "it was looked up"
            return stored
        return query.vector

    def _encode_picture(self, query: ImageQuery, record: ModelRecord) -> Vector:
        rules = decode_rules(self._settings)
        data = query.read(rules.max_bytes)
        encoder = self._encoder(record)
        try:
            with Workshop(rules) as pictures:
                picture = pictures.decode(data, at_least=encoder.enough)
        except ImageError as error:
            raise type(error)(f"{query}: {error}") from error
        vector: Vector = unit_length(encode_image(encoder, picture)[np.newaxis])[0]
        return vector

    def _encoder(self, record: ModelRecord) -> Encoder:
        """The very model that made the index's vectors, on the device that the settings say now.

        Raises:
            ModelUnavailable: its files are not those any more.
        """
        now = self._settings.spaces[record.name]
        settings = record.model_settings()
        change: dict[str, object] = {"device": now.device, "streams": None}
        if settings.precision != "int8":  # a query is one picture: it gets the exact vector, whatever the others have
            change |= {"precision": "fp32", "backend": "torch"}
        settings = settings.model_copy(update=change)
        found = identify(settings)
        if found.fingerprint != record.fingerprint:
            raise ModelUnavailable(
                f"the index of model {record.name!r} was made by {settings.model!r} with fingerprint {record.fp12}, "
                f"but its files now have {found.fp12}: `embeddings run` encodes with those; or put the old files back"
            )
        bring_here(self._store, record.name, settings)
        return load(settings, cache=self._store.cache)

    def _results(self, query: str, opened: Opened, hits: list[Hit], started: float) -> Results:
        locations = find_locations(self._store, self._settings, hits)
        manifest = opened.generation.manifest
        about = (opened.record.name, manifest.fingerprint, manifest.version, manifest.run_id)
        found = tuple(
            SearchHit(
                rank,
                hit.image_id,
                hit.region,
                hit.score,
                ids.source_of(hit.image_id),
                hit.batch,
                locations.get(hit.image_id),
                *about,
            )
            for rank, hit in enumerate(hits, start=1)
        )
        seconds = round(time.monotonic() - started, 4)
        return Results(query, *about, manifest.created_at.isoformat(), manifest.rows, seconds, found)


def _known_id(image_id: str, model: str, generation: Generation) -> str:
    """The id of the index that is meant: the very one, else the only one that ends so."""
    if generation.vector(image_id) is not None:
        return image_id
    meant = find_by_tail(generation.image_ids(), image_id)
    if len(meant) > 1:
        raise UnknownItem(f"{image_id!r} is the end of {named(meant, len(meant))}; give more of the path")
    if meant:
        return meant[0]
    close = generation.close_ids(image_id)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "`embeddings status` shows what is there."
    why = "`embeddings explain ID` says why an image is missing."
    raise UnknownItem(f"no image {image_id!r} in the index of model {model!r}; {hint} {why}")
