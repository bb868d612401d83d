"""A project of made-up pictures, on which the index and searches are measured: records, and embeddings in clusters.

Both are written as stages write them, and what is measured is made from them: the index and the catalogue are what a
run would have made. The model is CLIP ViT-B/32 with random weights, so that words can be searched for at full cost.
"""

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from encoding_models import model_folder
from index_vectors import Clusters, Vectors

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.index import Generation, Generations
from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.settings_sources import CatalogSource
from embeddings_dagster.stages.catalog import refresh_catalog
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.identities import identity
from embeddings_dagster.store import PartLimits, Store
from embeddings_dagster.store.tables import RAW, embeddings

MODEL = "clip"
BATCH = 1000
LIMITS = PartLimits(BATCH, 2**30, 1e9)
WORDS = [f"w{number}" for number in range(5000)] + ["shirt", "red", "jacket"]
POPULATION = Clusters.make(512)


@dataclass(frozen=True)
class Project:
    """A store in a folder, and what stages need to work on it."""

    folder: Path
    settings: Settings
    context: StageContext
    identity: ModelIdentity

    @classmethod
    def open(cls, work: Path, name: str) -> "Project":
        folder = work / name
        model = ModelSettings(kind="clip", model=str(model_folder(work, "clip", write=True)))
        shop = CatalogSource(kind="catalog", path=folder / "products.csv")
        settings = Settings(data=str(folder / "data"), sources={"shop": shop}, models={MODEL: model})
        store = Store.open(settings.data_root, settings.cache_root)
        return cls(folder, settings, StageContext(settings, store, "bench"), identity(store, MODEL, model))

    @property
    def store(self) -> Store:
        return self.context.store

    @property
    def generations(self) -> Generations:
        return Generations(self.store, MODEL, self.identity.fp12)

    def generation(self) -> Generation:
        newest = self.generations.latest()
        assert newest is not None
        return Generation.open(self.generations, newest)

    def fill(self, rows: int, *, records: bool) -> None:
        """Write the vectors of `rows` pictures, and their records if those are wanted, unless they are there."""
        if (self.folder / "filled").exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        vectors, clusters = POPULATION.pictures(rows)
        for start in range(0, rows, BATCH):
            some = slice(start, min(start + BATCH, rows))
            if records:
                self.write_records(start // BATCH, clusters[some])
            self.write_vectors(start // BATCH, vectors[some])
        if records:
            refresh_catalog(self.context)
        (self.folder / "filled").touch()

    def write_records(self, batch: int, clusters: np.ndarray) -> None:
        chance, key = random.Random(batch), _key(batch)
        writer = self.store.chain("raw_images", key).writer(RAW, run_id="bench", label={}, limits=LIMITS)
        for image_id, cluster in zip(_image_ids(batch, len(clusters)), clusters, strict=True):
            local_id = image_id.partition(":")[2]
            record = {"title": " ".join(chance.choices(WORDS, k=5)), "brand": f"Brand {chance.randrange(800)}",
                      "share": round(chance.random(), 6), "cluster": int(cluster)}  # fmt: skip
            place = {"image_id": image_id, "input_hash": local_id, "item_id": local_id, "ordinal": 0, "batch": key,
                     "location": f"https://example.org/{local_id}.jpg", "run_id": "bench"}  # fmt: skip
            metadata = json.dumps(record, sort_keys=True)
            writer.add([{**place, "width": 800, "height": 600, "regions": [], "metadata": metadata}])
        writer.finish(inputs={}, total=len(clusters))

    def write_vectors(self, batch: int, vectors: Vectors, state: str = "first") -> None:
        """Bring a batch's embeddings to these vectors; another `state` makes all of them new."""
        chain = self.store.chain(dataset(MODEL, self.identity), _key(batch))
        label = {"fingerprint": self.identity.fingerprint}
        writer = chain.writer(embeddings(self.identity.dimension), run_id="bench", label=label, limits=LIMITS)
        writer.drop(set(writer.present()))
        said = {"region": 0, "norm": 1.0, "precision": "fp32", "run_id": "bench"}
        for place, (image_id, vector) in enumerate(zip(_image_ids(batch, len(vectors)), vectors, strict=True)):
            writer.add([{**said, "image_id": image_id, "input_hash": f"{batch}-{place}-{state}", "embedding": vector}])
        writer.finish(inputs={}, total=len(vectors))

    def forget_index(self) -> None:
        """No index, and nothing remembered of one."""
        for folder in ("indexes", "cache/indexes"):
            shutil.rmtree(self.folder / "data" / folder, ignore_errors=True)


def _key(batch: int) -> str:
    return f"shop__{batch:06d}"


def _image_ids(batch: int, count: int) -> Iterator[str]:
    return (f"shop:{batch * BATCH + place:08d}" for place in range(count))
