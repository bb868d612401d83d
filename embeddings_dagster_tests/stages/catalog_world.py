"""A small world of batches for tests of the catalogue: real ledgers, real raw_images, no pictures."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from embeddings_dagster.catalog import Catalogue, Record
from embeddings_dagster.ids import Key, parse_image_id
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.catalog import CatalogReport, refresh_catalog
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.store import Failure, Manifest, Store
from embeddings_dagster.store.tables import RAW
from embeddings_dagster_tests.stages.index_world import NOON, age_batches


@dataclass(frozen=True)
class Item:
    """A picture's record. `panels`: the text of each; None stands for a panel that has no box."""

    metadata: Mapping[str, Any]
    text: str | None = None
    panels: Sequence[str | None] = ()
    scraped_at: datetime | None = None


@dataclass
class CatalogWorld:
    """A store and what is asked of it; batches are of the source `art`."""

    context: StageContext
    log: list[str]

    @property
    def store(self) -> Store:
        return self.context.store

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue(self.store)

    def age(self, **days: int) -> None:
        """Set the day on which each batch was scraped."""
        age_batches(self.store, days)

    def write(self, batch: str, items: Mapping[str, Item], failed: Collection[str] = ()) -> Manifest:
        """Bring a batch's raw_images to exactly these items and failures."""
        writer = self.store.chain("raw_images", f"art__{batch}").writer(RAW, run_id="run", label={})
        rows = {Key(image, 0): raw_row(f"art__{batch}", image, item) for image, item in items.items()}
        present = writer.present()
        writer.drop((present.keys() | writer.failed().keys()) - rows.keys() - {Key(image, 0) for image in failed})
        for key, row in rows.items():
            if present.get(key) != row["input_hash"]:
                writer.add([row])
        for image in failed:
            writer.fail(Failure(image, 0, "bad", "raw_images", "ReadFailed", "no picture", True, NOON))
        return writer.finish(inputs={}, total=len(rows) + len(failed))

    def refresh(self) -> CatalogReport:
        return refresh_catalog(self.context)

    def records(self) -> dict[Key, Record]:
        """Every row of the newest generation."""
        with self.catalogue.open() as snapshot:
            return snapshot.rows(snapshot.keys())

    def files(self) -> list[str]:
        """The SQLite files there are."""
        return self.store.files.names("catalog/files")


def make_catalog_world(tmp_path: Path, cache: str = "cache", data: str | None = None) -> CatalogWorld:
    """A world in a folder; another `cache` makes another machine that works on the same store."""
    settings = Settings(data=data or str(tmp_path / "data"), cache=str(tmp_path / cache))
    log: list[str] = []
    store = Store.open(settings.data_root, settings.cache_root)
    return CatalogWorld(StageContext(settings, store, "run", log.append), log)


def raw_row(batch: str, image_id: str, item: Item) -> dict[str, object]:
    """The row of raw_images that a picture with this record has."""
    local_id, ordinal = parse_image_id(image_id)[1:]
    regions: list[dict[str, object]] = [{"region": 0, "box": None, "text": item.text}] if item.text else []
    for number, text in enumerate(item.panels, start=1):
        box = None if text is None else {"x": number, "y": 0, "w": 10, "h": 20}
        regions.append({"region": number, "box": box, "text": text})
    metadata = json.dumps(item.metadata, sort_keys=True, ensure_ascii=False)
    return {
        "image_id": image_id,
        "input_hash": json.dumps([metadata, item.text, [*item.panels], str(item.scraped_at)]),
        "item_id": local_id,
        "ordinal": ordinal,
        "batch": batch,
        "location": f"{local_id}.png",
        "size": 1,
        "sha256": "0" * 64,
        "format": "PNG",
        "mode": "RGB",
        "width": 40,
        "height": 30,
        "regions": regions,
        "scraped_at": item.scraped_at,
        "metadata": metadata,
        "run_id": "run",
    }
