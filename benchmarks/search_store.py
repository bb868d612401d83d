"""A project of made-up pictures to measure searches on: embeddings in clusters, records, their index and catalogue.

Vectors and records are written as stages write them, and the index and the catalogue are refreshed from them, so that
they are what a run would have made. With `--dimension 0` the models are the bundled ones, and words can be searched
for; with another they pass for models of that dimension that know no words, and vectors can.

    python benchmarks/search_store.py FOLDER [--rows 100000] [--dimension 512] [--models clip dino]
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from embeddings_dagster.encoders import ModelIdentity, identify
from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.settings_sources import CatalogSource
from embeddings_dagster.stages.catalog import refresh_catalog
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.store import PartLimits, Store
from embeddings_dagster.store.tables import RAW, embeddings

BATCH = 4096
OWN = 0  # the dimension that a model has by itself
CLUSTERS = 500
SPREAD = 0.7  # of a vector around its cluster's centre, whose norm is 1
WORDS = [f"w{number}" for number in range(5000)] + ["shirt", "red", "jacket"]
LIMITS = PartLimits(BATCH, 2**30, 1e9)

Vectors = npt.NDArray[np.float32]


def settings_of(folder: Path, models: tuple[str, ...], dimension: int) -> Settings:
    """The settings of the project in `folder`."""
    kinds: dict[str, Literal["clip", "dino"]] = {"clip": "clip" if dimension == OWN else "dino", "dino": "dino"}
    return Settings(
        data=str(folder / "data"),
        cache=str(folder / "cache"),
        sources={"shop": CatalogSource(kind="catalog", path=folder / "products.csv")},
        models={name: ModelSettings(kind=kinds[name], model=f"bundled:{kinds[name]}") for name in models},
    )


def clustered(rows: int, dimension: int, seed: int) -> Vectors:
    """Vectors of norm 1 around `CLUSTERS` centres, which are the same for every `seed`."""
    centres = np.random.default_rng(7).standard_normal((CLUSTERS, dimension)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    chance = np.random.default_rng(seed)
    noise = chance.standard_normal((rows, dimension)).astype(np.float32) * np.float32(SPREAD / dimension**0.5)
    found: Vectors = centres[chance.integers(0, CLUSTERS, rows)] + noise
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def identity_of(settings: Settings, model: str, dimension: int) -> ModelIdentity:
    """The identity of a model, as if its vectors had that dimension."""
    found = identify(settings.models[model])
    return found if dimension == OWN else replace(found, dimension=dimension)


def make(folder: Path, rows: int, dimension: int, models: tuple[str, ...] = ("clip",)) -> Settings:
    """Make the project, unless it is there; returns its settings."""
    settings = settings_of(folder, models, dimension)
    if (folder / "made").exists():
        return settings
    store = Store.open(settings.data_root, settings.cache_root)
    context = StageContext(settings, store, "bench")
    for number, count in _batches(rows):
        _write_records(store, number, count)
    refresh_catalog(context)
    for place, model in enumerate(models):
        identity = identity_of(settings, model, dimension)
        for number, count in _batches(rows):
            _write_vectors(store, model, identity, number, clustered(count, identity.dimension, 1000 * place + number))
        refresh_index(context, model, identity)
    (folder / "made").touch()
    return settings


def _batches(rows: int) -> Iterator[tuple[int, int]]:
    for number, start in enumerate(range(0, rows, BATCH)):
        yield number, min(BATCH, rows - start)


def _image_id(batch: int, place: int) -> str:
    return f"shop:{batch * BATCH + place:08d}"


def _record(chance: random.Random) -> dict[str, object]:
    """A product: half of them cost 20 or less, one in 800 is of each brand."""
    return {
        "title": " ".join(chance.choices(WORDS, k=5)),
        "brand": f"Brand {chance.randrange(800)}",
        "price": round(chance.random() * 40, 2),
        "category": chance.choice(["Shoes", "Shirts", "Coats", "Hats", "Bags"]),
    }


def _write_records(store: Store, batch: int, rows: int) -> None:
    chance, key = random.Random(batch), f"shop__{batch:06d}"
    writer = store.chain("raw_images", key).writer(RAW, run_id="bench", label={}, limits=LIMITS)
    for place in range(rows):
        image_id = _image_id(batch, place)
        local_id = image_id.partition(":")[2]
        row = {"image_id": image_id, "input_hash": local_id, "item_id": local_id, "ordinal": 0, "batch": key}
        said = {"width": 800, "height": 600, "regions": [], "metadata": json.dumps(_record(chance), sort_keys=True)}
        writer.add([{**row, "location": f"https://example.org/{local_id}.jpg", "run_id": "bench", **said}])
    writer.finish(inputs={}, total=rows)


def _write_vectors(store: Store, model: str, identity: ModelIdentity, batch: int, vectors: Vectors) -> None:
    table, label = embeddings(identity.dimension), {"fingerprint": identity.fingerprint}
    writer = store.chain(dataset(model, identity), f"shop__{batch:06d}").writer(
        table, run_id="bench", label=label, limits=LIMITS
    )
    for place, vector in enumerate(vectors):
        row = {"image_id": _image_id(batch, place), "region": 0, "input_hash": f"{batch}-{place}", "embedding": vector}
        writer.add([{**row, "norm": 1.0, "precision": "fp32", "run_id": "bench"}])
    writer.finish(inputs={}, total=len(vectors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512, help="0: that of the bundled models")
    parser.add_argument("--models", nargs="+", default=["clip"], choices=["clip", "dino"])
    arguments = parser.parse_args()
    started = time.perf_counter()
    make(arguments.folder, arguments.rows, arguments.dimension, tuple(arguments.models))
    print(f"{arguments.rows:,} rows in {arguments.folder}, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
