"""A shelf of comics: page specs, the pictures they name, and a batch for the one book there is."""

import json
import os
from pathlib import Path
from typing import Any

from PIL import Image

from embeddings_dagster.settings import settings_from
from embeddings_dagster.settings_yaml import Document
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.store import Store

BATCH = "comics__Foo"


class Library:
    """Specs in `specs/`, pictures in `pages/`; every page of the book Foo is one batch."""

    def __init__(self, root: Path, *, path: str = "specs", batches: str = "book") -> None:
        self.root = root
        comics = {"kind": "comics", "path": path, "images": "pages", "batches": batches}
        made = settings_from(Document("embeddings.yaml", {"sources": {"comics": comics}}, {}), root=root)
        self.context = StageContext(made, Store.open(made.data_root, made.cache_root), "run")
        self._clock = 10**18
        self.picture("stray.png")

    def picture(self, name: str) -> None:
        file = self.root / "pages" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 90), "teal").save(file)
        self._touch(file)

    def spec(self, name: str, *panels: Any, data: str | None = None) -> None:
        file = self.root / "specs" / "Foo" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        value = {"page_image_path": f"E:\\lib\\Foo\\{name}.png", "panels": list(panels), "title": name}
        file.write_text(json.dumps(value) if data is None else data)
        self._touch(file)

    def run(self) -> tuple[Account, Account]:
        discover(self.context, "comics", wait=True, allow_removals=True)
        return run_raw(self.context, BATCH), run_rgb(self.context, BATCH)

    def rows(self, dataset: str) -> list[dict[str, Any]]:
        chain = self.context.store.chain(dataset, BATCH)
        manifest = chain.latest()
        assert manifest is not None
        return list(chain.rows(manifest).to_pylist())

    def failures(self, dataset: str) -> dict[tuple[str, int], str]:
        chain = self.context.store.chain(dataset, BATCH)
        manifest = chain.latest()
        assert manifest is not None
        return {(each.image_id, each.region): each.error_class for each in chain.failures(manifest)}

    def _touch(self, file: Path) -> None:
        """A time of its own for each state of a file, as no coarse clock can promise."""
        self._clock += 10**9
        os.utime(file, ns=(self._clock, self._clock))
