"""A project of which only the index (and, on request, the catalogue) exist: real segments, no pictures and no model.

A row's vector follows from its key, so that a wrong one shows; `same` gives some rows the vector of another.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.exports import ExportReport
from embeddings_dagster.ids import Key, source_of
from embeddings_dagster.index import Consumed, Generations, write_segment
from embeddings_dagster.settings import load_settings
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.catalog import refresh_catalog
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.models import register
from embeddings_dagster.store import Store
from embeddings_dagster.store.tables import RAW
from embeddings_dagster_tests.index.helpers import DIMENSION, FP12, Vector, block, manifest, vector
from embeddings_dagster_tests.stages.catalog_world import Item, raw_row

MODEL = "clip"
IDENTITY = ModelIdentity("bundled:clip", FP12 + "f" * 52, DIMENSION, {"weights": "w"})
SETTINGS = """models: {clip: {kind: clip, model: "bundled:clip"}, dino: {kind: dino, model: "bundled:dino"}}
sources: {art: {kind: folder, path: art}, shop: {kind: catalog, path: products.csv, text: [title]}}
"""


@dataclass
class Shelf:
    """A store and what is asked of it."""

    context: StageContext
    root: Path
    model: str = MODEL
    same: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return self.context.store

    @property
    def generations(self) -> Generations:
        return Generations(self.store, self.model, FP12)

    def put(self, *images: str | Key, segments: int = 1) -> None:
        """Commit a generation with these rows more, in new segments; a batch a source."""
        keys = [image if isinstance(image, Key) else Key(image, 0) for image in images]
        base = self.generations.latest()
        entries = list(base.segments) if base else []
        for number in range(segments):
            entries += self._segments(keys[number::segments])
        batches = {batch_of(key.image_id) for key in keys} | set(base.consumed if base else ())
        consumed = {batch: Consumed(1, f"content {base.version + 1 if base else 1}") for batch in sorted(batches)}
        made = replace(manifest(*entries, consumed=consumed), fingerprint=IDENTITY.fingerprint)
        self.generations.commit(base, made)

    def _segments(self, keys: Sequence[Key]) -> list[Any]:
        made = []
        for batch in sorted({batch_of(key.image_id) for key in keys}):
            mine = [key for key in keys if batch_of(key.image_id) == batch]
            rows = block(mine, batch)
            rows = rows._replace(vectors=np.array([self.vector(*key) for key in mine], np.float32))
            name = f"{len(self.store.files.folders(self.generations.folder + '/segments')):032x}"
            made.append(write_segment(self.store.files, self.generations.folder, name, DIMENSION, len(mine), [rows]))
        return made

    def vector(self, image_id: str, region: int = 0) -> Vector:
        """What the index has of a row."""
        return vector(f"{self.same.get(image_id, image_id)}/{region}")

    def catalogue(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Bring the catalogue to these records."""
        for batch in sorted({batch_of(image) for image in records}):
            writer = self.store.chain("raw_images", batch).writer(RAW, run_id="run", label={})
            mine = [image for image in records if batch_of(image) == batch]
            for image in mine:
                writer.add([raw_row(batch, image, Item(records[image]))])
            writer.finish(inputs={}, total=len(mine))
        refresh_catalog(self.context)


def batch_of(image_id: str) -> str:
    return f"{source_of(image_id)}__1"


def make_shelf(root: Path, data: str = "data", model: str = MODEL) -> Shelf:
    """A project in a folder, with a model that serves and no index yet; `data` is where its store is."""
    (root / "embeddings.yaml").write_text(f"data: {data}\ncache: {root / 'data' / 'cache'}\n{SETTINGS}")
    settings = load_settings(root / "embeddings.yaml")
    store = Store.open(settings.data_root, settings.cache_root)
    register(store, model, IDENTITY, ModelSettings(kind="clip", model="bundled:clip"))
    return Shelf(StageContext(settings, store, "run"), root, model)


def names(report: ExportReport) -> list[str]:
    """The files of an export, by name."""
    return sorted(file.path.name for file in report.files)


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_bytes())
