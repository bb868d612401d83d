"""An item that a scraper lists again: the newest batch that has it without failure is shown, the older one returns."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image

from embeddings_dagster.encoders import identify
from embeddings_dagster.engines import LocalEngine
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Generations
from embeddings_dagster.index.segment import read_rows
from embeddings_dagster.settings import Settings, settings_from
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.settings_yaml import Document
from embeddings_dagster.stages import looks as looks_module
from embeddings_dagster.stages import settling as settling_module
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.explain import explain
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.stages.status import batch_statuses
from embeddings_dagster.stages.tally import tally
from embeddings_dagster.store import Store

MODEL = ModelSettings(kind="dino", model="bundled:dino", device="cpu")
OLD, NEW = "batch_20260101_000000", "batch_20260201_000000"


class Scraper:
    """Leaves batches in a folder; `run` does what `embeddings run` does, without Dagster."""

    def __init__(self, root: Path) -> None:
        self.root = root
        data = {"sources": {"fashion": {"kind": "scraped", "path": "scraped"}}, "models": {"dino": MODEL.model_dump()}}
        self.settings: Settings = settings_from(Document("embeddings.yaml", data, {}), root=root)
        store = Store.open(self.settings.data_root, self.settings.cache_root)
        self.context = StageContext(self.settings, store, "run")
        self.runs = 0

    def leave(self, batch: str, **colours: str) -> None:
        folder = self.root / "scraped" / batch
        items = []
        for name, colour in colours.items():
            (folder / "images" / name).mkdir(parents=True, exist_ok=True)
            picture = folder / "images" / name / "0.jpg"
            picture.write_bytes(b"no picture") if colour == "bad" else Image.new("RGB", (32, 32), colour).save(picture)
            items.append({"item_id": name, "title": f"{name} in {colour}", "price": 1, "url": "https://x.example",
                          "local_image_paths": [f"images/{name}/0.jpg"]})  # fmt: skip
        day = f"2026-{batch[10:12]}-01T00:00:00"
        (folder / "batch.json").write_text(json.dumps({"batch_id": batch, "scraped_at": day, "items": items}))

    def run(self) -> None:
        """Bring everything that is known up to date."""
        self.runs += 1
        context = StageContext(self.settings, self.context.store, f"run-{self.runs}")
        for batch in discover(context, "fashion", wait=True, allow_removals=True).manifest.batches:
            run_raw(context, batch)
            run_rgb(context, batch)
            run_embed(context, "dino", MODEL, LocalEngine(), batch)
        refresh_index(context, "dino", identify(MODEL))

    def shown(self) -> dict[str, str]:
        """The batch whose row the index holds, by item; checked to be there once."""
        generations = Generations(self.context.store, "dino", identify(MODEL).fp12)
        manifest = generations.latest()
        assert manifest is not None
        found: dict[str, str] = {}
        for entry in manifest.segments:
            table, live = read_rows(self.context.store, generations.folder, entry, ("image_id", "region", "batch"))
            for row, alive in zip(table.to_pylist(), live, strict=True):
                if alive:
                    assert Key(row["image_id"], row["region"]) not in found
                    found[row["image_id"].removeprefix("fashion:")] = row["batch"].removeprefix("fashion__")
        return found


@pytest.fixture
def scraper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scraper:
    for module in (looks_module, settling_module):
        monkeypatch.setattr(module, "APART", timedelta(0))
    return Scraper(tmp_path)


def test_the_newest_batch_that_has_an_image_whole_is_shown(scraper: Scraper) -> None:
    scraper.leave(NEW, coat="blue", hat="green")
    scraper.run()
    assert scraper.shown() == {"coat": NEW, "hat": NEW}

    scraper.leave(OLD, coat="red", shoe="black")
    scraper.run()
    assert scraper.shown() == {"coat": NEW, "hat": NEW, "shoe": OLD}, "an older one that comes later shows no older row"

    scraper.leave(NEW, coat="bad", hat="green")
    scraper.run()
    assert scraper.shown() == {"coat": OLD, "hat": NEW, "shoe": OLD}, "the newest failed"
    steps = explain(scraper.context.store, scraper.settings, {"dino": identify(MODEL)}, "fashion:coat").steps
    told = [(step.stage, step.batch.removeprefix("fashion__"), step.state) for step in steps]
    assert ("raw_images", OLD, "current") in told
    assert ("raw_images", NEW, "failed") in told
    assert ("dino_index", OLD, "current") in told
    store, identities = scraper.context.store, {"dino": identify(MODEL)}
    statuses = list(batch_statuses(store, scraper.settings, identities))
    assert all(status.current and status.reconciles for status in statuses)
    counted = tally(store, identities, "fashion", statuses, {each.batch for each in statuses}, {"run-3"})
    assert (counted.total, counted.failed, counted.undone) == (4, 1, 0), "coat counts in each of its batches"

    scraper.leave(NEW, coat="blue", hat="green")
    scraper.run()
    assert scraper.shown()["coat"] == NEW, "healed"

    shutil.rmtree(scraper.root / "scraped" / NEW)
    scraper.run()
    assert scraper.shown() == {"coat": OLD, "shoe": OLD}, "the newer went, the older returned"

    shutil.rmtree(scraper.root / "scraped" / OLD)
    scraper.leave("batch_20260301_000000", hat="green")
    scraper.run()
    assert scraper.shown() == {"hat": "batch_20260301_000000"}
