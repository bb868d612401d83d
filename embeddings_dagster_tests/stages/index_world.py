"""A small world of batches for tests of the index: real ledgers and real embeddings, no pictures and no model.

A picture is a name; its vectors follow from the input hash of each region, so that a wrong vector shows.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Generation, Generations
from embeddings_dagster.index.segment import read_rows
from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.index import IndexReport, refresh_index
from embeddings_dagster.stages.index_plan import Row
from embeddings_dagster.store import Failure, Manifest, Store
from embeddings_dagster.store.tables import LEDGER, embeddings
from embeddings_dagster_tests.index.helpers import DIMENSION, Vector, vector

MODEL = "toy"
IDENTITY = ModelIdentity("bundled:dino", "0123456789ab" + "f" * 52, DIMENSION, {"weights": "w"})
OTHER_IDENTITY = ModelIdentity("bundled:dino", "ba9876543210" + "e" * 52, DIMENSION, {"weights": "x"})
NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)

COLUMNS = ("image_id", "region", "input_hash", "batch")

Pictures = Mapping[str, Mapping[int, str]]  # image id -> region -> input hash


@dataclass
class World:
    """A store and what is asked of it."""

    context: StageContext
    log: list[str]
    identity: ModelIdentity = IDENTITY

    @property
    def store(self) -> Store:
        return self.context.store

    @property
    def generations(self) -> Generations:
        return Generations(self.store, MODEL, self.identity.fp12)

    def age(self, **days: int) -> None:
        """Set the day on which each batch was scraped."""
        age_batches(self.store, days)

    def write(self, batch: str, pictures: Pictures, failed: Collection[Key] = (), *, rgb: str = "rgb") -> Manifest:
        """Bring a batch's embeddings to exactly these rows and failures."""
        chain = self.store.chain(dataset(MODEL, self.identity), f"art__{batch}")
        table = embeddings(self.identity.dimension)
        writer = chain.writer(table, run_id="run", label={"fingerprint": self.identity.fingerprint})
        present = writer.present()
        wanted = {Key(image, region): hash_ for image, regions in pictures.items() for region, hash_ in regions.items()}
        writer.drop((present.keys() | writer.failed().keys()) - wanted.keys() - set(failed))
        for image, regions in pictures.items():
            if any(present.get(Key(image, region)) != hash_ for region, hash_ in regions.items()):
                writer.add([_row(image, region, hash_) for region, hash_ in regions.items()])
        for key in failed:
            writer.fail(Failure(key.image_id, key.region, "bad", "toy", "OutOfMemory", "too large", True, NOON))
        inputs = {f"rgb_images/art__{batch}": {"version": 1, "content": rgb}}
        return writer.finish(inputs=inputs, total=len(wanted) + len(failed))

    def refresh(self) -> IndexReport:
        return refresh_index(self.context, MODEL, self.identity)

    def open(self) -> Generation:
        newest = self.generations.latest()
        assert newest is not None
        return Generation.open(self.generations, newest)

    def rows(self) -> dict[Key, Row]:
        """The live rows of the newest generation; each vector is checked."""
        newest, generation = self.generations.latest(), self.open()
        found: dict[Key, Row] = {}
        assert newest is not None
        for entry in newest.segments:
            table, live = read_rows(self.store, self.generations.folder, entry, COLUMNS)
            for row in table.filter(pa.array(live)).to_pylist():
                key = Key(row["image_id"], row["region"])
                assert key not in found, f"{key} is in the index twice"
                found[key] = Row(row["input_hash"], row["batch"])
                stored = generation.vector(*key)
                assert stored is not None
                assert np.array_equal(stored, vector(row["input_hash"]))
        return found

    def files(self) -> dict[str, int]:
        """Every file of the index, with its mtime."""
        root = Path(self.store.root) / self.generations.folder
        return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def make_world(tmp_path: Path, cache: str = "cache") -> World:
    """A world in a folder; another `cache` makes another machine that works on the same store."""
    settings = Settings(
        data=str(tmp_path / "data"),
        cache=str(tmp_path / cache),
        models={MODEL: ModelSettings(kind="dino", model="bundled:dino")},
    )
    log: list[str] = []
    store = Store.open(settings.data_root, settings.cache_root)
    return World(StageContext(settings, store, "run", log.append), log)


def age_batches(store: Store, days: Mapping[str, int]) -> None:
    """Set the day on which each batch of `art` was scraped."""
    ledger = store.ledger("art")
    scraped = {f"art__{name}": NOON + timedelta(days=day) for name, day in days.items()}
    tables = {batch: _ledger_rows(batch) for batch in scraped}
    ledger.commit(ledger.latest(), tables, run_id="run", scraped_at=scraped)


def whole(*names: str, version: str = "1") -> dict[str, dict[int, str]]:
    """Pictures of one region; the input hash is made of name and version."""
    return {f"art:{name}": {0: f"{name}@{version}"} for name in names}


def brute_force(rows: Mapping[Key, Row], query: Vector, k: int) -> list[float]:
    """The best scores over whole images."""
    scores = (float(vector(row.input_hash) @ query) for key, row in rows.items() if key.region == 0)
    return sorted(scores, reverse=True)[:k]


def _row(image: str, region: int, input_hash: str) -> dict[str, object]:
    return {
        "image_id": image,
        "region": region,
        "input_hash": input_hash,
        "embedding": vector(input_hash),
        "norm": 1.0,
        "precision": "fp32",
        "run_id": "run",
    }


def _ledger_rows(batch: str) -> pa.Table:
    row = {"local_id": "any.png", "item_id": "any", "ordinal": 0, "batch": batch, "location": "any.png", "size": 1}
    return pa.Table.from_pylist([{**row, "mtime_ns": 1, "first_seen": NOON}], schema=LEDGER)
