"""Texts of scraped items on their way to `rgb_images`: another text is taken along, and no pixel is made anew."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from embeddings_dagster.settings import settings_from
from embeddings_dagster.settings_yaml import Document
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.store import Store

BATCH = "shop__one"


class Stall:
    """A scraped batch of two items, each with a picture, and what its settings say of texts."""

    def __init__(self, root: Path, *text: str) -> None:
        self.root = root
        shop = {"kind": "scraped", "path": "shop", "text": list(text)}
        made = settings_from(Document("embeddings.yaml", {"sources": {"shop": shop}}, {}), root=root)
        self.context = StageContext(made, Store.open(made.data_root, made.cache_root), "run")

    def offer(self, tick: int, **titles: str) -> None:
        """Write the batch, at a time of its own."""
        folder = self.root / "shop" / "one"
        folder.mkdir(parents=True, exist_ok=True)
        items = []
        for name, title in titles.items():
            if not (folder / f"{name}.png").exists():
                Image.new("RGB", (30, 20), "teal").save(folder / f"{name}.png")
            address = f"https://shop.example/{name}"
            items.append({"item_id": name, "title": title, "url": address, "local_image_paths": [f"{name}.png"]})
        (folder / "batch.json").write_text(json.dumps({"items": items}))
        for place in (*folder.iterdir(), folder):
            moment = 10**18 + (tick * 10**9 if place.suffix != ".png" else 0)
            os.utime(place, ns=(moment, moment))

    def run(self) -> tuple[Account, Account]:
        discover(self.context, "shop", wait=True, allow_removals=True)
        return run_raw(self.context, BATCH), run_rgb(self.context, BATCH)

    def rows(self) -> dict[str, dict[str, Any]]:
        chain = self.context.store.chain("rgb_images", BATCH)
        manifest = chain.latest()
        assert manifest is not None
        return {row["image_id"]: row for row in chain.rows(manifest).to_pylist()}

    def texts(self) -> dict[str, str | None]:
        return {image_id: row["text"] for image_id, row in self.rows().items()}


def test_a_changed_title_changes_the_text_and_no_input_of_a_picture(tmp_path: Path) -> None:
    stall = Stall(tmp_path, "title", "description")
    stall.offer(1, a="A coat", b="A hat")
    stall.run()
    before = stall.rows()
    assert stall.texts() == {"shop:a": "A coat", "shop:b": "A hat"}
    stall.offer(2, a="A red coat", b="A hat")
    raw, rgb = stall.run()
    after = stall.rows()
    assert stall.texts() == {"shop:a": "A red coat", "shop:b": "A hat"}
    assert (raw.processed, rgb.processed, raw.failed, rgb.failed) == (1, 1, 0, 0)
    for image_id, row in before.items():
        assert after[image_id]["input_hash"] == row["input_hash"]
    assert after["shop:b"] == before["shop:b"]


@pytest.mark.parametrize(("names", "text"), [(("title", "url"), "A coat\nhttps://shop.example/a"), ((), None)])
def test_another_choice_of_text_is_taken_along(tmp_path: Path, names: tuple[str, ...], text: str | None) -> None:
    stall = Stall(tmp_path, "title")
    stall.offer(1, a="A coat")
    stall.run()
    before = stall.rows()
    other = Stall(tmp_path, *names)
    other.run()
    assert other.texts() == {"shop:a": text}
    assert other.rows()["shop:a"]["input_hash"] == before["shop:a"]["input_hash"]
    raw, rgb = other.run()
    assert (raw.processed, rgb.processed) == (0, 0)
