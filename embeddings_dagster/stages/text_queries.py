"""Texts as queries to tune an index on: titles of the user's own records, then plain words.

Where a model reads text, words are what most searches begin with, and their vectors lie apart from those of pictures:
a list that is long enough for pictures is too short for words.
"""

import json
from collections.abc import Iterator
from itertools import islice

import numpy as np

from embeddings_dagster.encoders import ModelIdentity, identify, load
from embeddings_dagster.errors import MissingExtra, ModelError, StoreError
from embeddings_dagster.index.scores import Vector
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.calibration import with_calibration
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.models import records
from embeddings_dagster.stages.plain_queries import PLAIN_QUERIES
from embeddings_dagster.store import Store

COUNT = 256
OWN = 128  # of them, records of the user's own
BATCHES = 8  # that those are taken from, evenly spread
CHARACTERS = 200  # of a title; the rest says no more
FIELDS = ("title", "name", "caption", "text", "description")  # of metadata; the first that says something
AT_ONCE = 64  # texts encoded between two looks at the stop event


def text_queries(context: StageContext, name: str, identity: ModelIdentity) -> Vector:
    """Vectors of up to `COUNT` texts, float32 (n, D), by the very model of `identity`; none where it reads no text, or
    cannot be loaded any more, which is logged.

    Raises:
        Stopped: a stop was asked for.
    """
    nothing = np.empty((0, identity.dimension), np.float32)
    try:
        model = _model(context, name, identity)
        if model is None or not model.reads_text:
            return nothing
        encoder = load(model.model_copy(update={"side": "text"}), cache=context.store.cache)
        if not encoder.has_text:
            return nothing
        texts, vectors = query_texts(context.store), [nothing]
        for start in range(0, len(texts), AT_ONCE):
            context.check_stop()
            vectors.append(encoder.encode_text(texts[start : start + AT_ONCE]))
    except (ModelError, MissingExtra, StoreError) as error:
        context.log(f"{name}_index is tuned on its own rows alone, for texts cannot be read or encoded now: {error}")
        return nothing
    found = np.concatenate(vectors)
    return found[np.isfinite(found).all(axis=1)]


def _model(context: StageContext, name: str, identity: ModelIdentity) -> ModelSettings | None:
    """The settings that load the model of `identity`: those of the project, or those it was registered with."""
    models = (
        [with_calibration(context.store, name, context.settings.spaces[name])]
        if name in context.settings.spaces
        else []
    )
    models += [
        each.model_settings() for each in records(context.store, name) if each.fingerprint == identity.fingerprint
    ]
    if not any(model.reads_text for model in models):
        return None
    for model in models:
        if identify(model, download=False).fingerprint == identity.fingerprint:
            return model
    raise ModelError(f"its files are not those of {identity.fp12} any more")


def query_texts(store: Store) -> list[str]:
    """Up to `OWN` titles of records, then plain words, `COUNT` in all at most; the same ones for the same records."""
    own = dict.fromkeys(islice(_titles(store), OWN))
    return list(dict.fromkeys([*own, *PLAIN_QUERIES]))[:COUNT]


def _titles(store: Store) -> Iterator[str]:
    """Different titles, as many from each of some batches as are wanted in all."""
    batches = store.batches("raw_images")
    chosen = batches[:: max(1, len(batches) // BATCHES)][:BATCHES]
    for batch in chosen:
        yield from islice(dict.fromkeys(_titles_of(store, batch)), -(-OWN // len(chosen)))


def _titles_of(store: Store, batch: str) -> Iterator[str]:
    chain = store.chain("raw_images", batch)
    manifest = chain.latest()
    if manifest is None:
        return
    for rows in chain.scan(manifest, ("image_id", "metadata", "regions")):
        for metadata, regions in zip(
            rows.column("metadata").to_pylist(), rows.column("regions").to_pylist(), strict=True
        ):
            title = _title(metadata) or next((each["text"] for each in regions or () if each["text"]), "")
            if title.strip():
                yield title.strip()[:CHARACTERS].encode("utf-8", "replace").decode()


def _title(metadata: str | None) -> str:
    fields = json.loads(metadata) if metadata else {}
    said = (fields.get(name) for name in FIELDS) if isinstance(fields, dict) else ()
    return next((each for each in said if isinstance(each, str) and each.strip()), "")
