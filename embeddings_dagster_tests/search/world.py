"""A small world for tests of searches: two models' real indexes and a real catalogue, no pictures and no model files.

A picture's vectors follow from the input hash of each region, another one for each model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Generations
from embeddings_dagster.search import SearchService
from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.settings_sources import FolderSource
from embeddings_dagster.stages.catalog import refresh_catalog
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.store import Store
from embeddings_dagster.store.tables import RAW, embeddings
from embeddings_dagster_tests.index.helpers import DIMENSION, Vector, vector
from embeddings_dagster_tests.stages.catalog_world import Item, raw_row

ONE = ModelIdentity("bundled:dino", "0123456789ab" + "f" * 52, DIMENSION, {"weights": "w"})
TWO = ModelIdentity("bundled:dino", "ba9876543210" + "e" * 52, DIMENSION, {"weights": "x"})
IDENTITIES = {"one": ONE, "two": TWO}

Pictures = Mapping[str, Sequence[str]]  # image id -> the input hash of each region, the whole first; empty: not there


@dataclass
class SearchWorld:
    """A store and what is asked of it; batches are of the source `art`."""

    context: StageContext

    @property
    def store(self) -> Store:
        return self.context.store

    def service(self, **options: object) -> SearchService:
        return SearchService(self.context.settings, self.store, **options)  # type: ignore[arg-type]

    def generations(self, model: str) -> Generations:
        return Generations(self.store, model, IDENTITIES[model].fp12)

    def index(self, model: str, pictures: Pictures, batch: str = "1") -> None:
        """Bring a batch of a model to exactly these pictures, and its index with it."""
        identity = IDENTITIES[model]
        label = {"fingerprint": identity.fingerprint}
        chain = self.store.chain(dataset(model, identity), f"art__{batch}")
        writer = chain.writer(embeddings(DIMENSION), run_id="run", label=label)
        writer.drop(writer.present())
        for image_id, hashes in pictures.items():
            writer.add([_row(model, image_id, region, hash_) for region, hash_ in enumerate(hashes) if hash_])
        rows = sum(bool(hash_) for hashes in pictures.values() for hash_ in hashes)
        writer.finish(inputs={f"rgb_images/art__{batch}": {"version": 1, "content": "rgb"}}, total=rows)
        refresh_index(self.context, model, identity)

    def record(self, items: Mapping[str, Item], batch: str = "1") -> None:
        """Bring a batch's records to exactly these, and the catalogue with them."""
        writer = self.store.chain("raw_images", f"art__{batch}").writer(RAW, run_id="run", label={})
        writer.drop(writer.present())
        for image_id, item in items.items():
            writer.add([raw_row(f"art__{batch}", image_id, item)])
        writer.finish(inputs={}, total=len(items))
        refresh_catalog(self.context)


def make_search_world(folder: Path, models: Sequence[str] = ("one", "two")) -> SearchWorld:
    settings = Settings(
        data=str(folder / "data"),
        cache=str(folder / "cache"),
        sources={"art": FolderSource(kind="folder", path=folder / "art")},
        models={name: ModelSettings(kind="dino", model="bundled:dino") for name in models},
    )
    return SearchWorld(StageContext(settings, Store.open(settings.data_root, settings.cache_root), "run"))


def vector_of(model: str, input_hash: str) -> Vector:
    """The vector that a model has of what has this hash."""
    return vector(f"{model} {input_hash}")


def score(model: str, input_hash: str, query: Vector) -> float:
    return float(vector_of(model, input_hash).astype(np.float64) @ query.astype(np.float64))


def best(scores: Mapping[Key, float], k: int) -> list[Key]:
    """The keys with the best scores, as an answer orders them."""
    return sorted(scores, key=lambda key: (-scores[key], key))[:k]


def _row(model: str, image_id: str, region: int, hash_: str) -> dict[str, object]:
    row = {"image_id": image_id, "region": region, "input_hash": hash_, "embedding": vector_of(model, hash_)}
    return {**row, "norm": 1.0, "precision": "fp32", "run_id": "run"}
