"""A folder of pictures brought all the way to an index by the bundled DINO, for tests of what is made of both."""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from embeddings_dagster.engines import LocalEngine
from embeddings_dagster.settings import Settings, settings_from
from embeddings_dagster.settings_yaml import Document
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.store import Store

MODEL = "dino"
BATCH = "pics__000001"
EMOJI = Path(__file__).resolve().parents[2] / "data" / "sample" / "emoji"


def emoji(name: str) -> Image.Image:
    """A picture of the sample over white, RGB."""
    with Image.open(EMOJI / name) as opened:
        picture = opened.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


@dataclass
class Gallery:
    """`pictures` are files of the folder `pics`; `step()` brings everything up to date."""

    root: Path
    context: StageContext
    clock: int = 10**18

    @property
    def store(self) -> Store:
        return self.context.store

    @property
    def settings(self) -> Settings:
        return self.context.settings

    def put(self, pictures: Mapping[str, bytes]) -> None:
        for name, data in pictures.items():
            file = self.root / "pics" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            self.clock += 10**9
            os.utime(file, ns=(self.clock, self.clock))

    def remove(self, *names: str) -> None:
        for name in names:
            (self.root / "pics" / name).unlink()

    def step(self) -> None:
        engine = LocalEngine(self.store.cache)
        discover(self.context, "pics", wait=True, allow_removals=True)
        for batch in self.store.ledger("pics").latest().batches:  # type: ignore[union-attr]
            run_raw(self.context, batch)
            run_rgb(self.context, batch)
            run_embed(self.context, MODEL, self.settings.models[MODEL], engine, batch)
        refresh_index(self.context, MODEL)

    def saying(self, log: list[str]) -> StageContext:
        """The context, with what it logs kept."""
        return replace(self.context, log=log.append)

    def files(self, folder: str) -> dict[str, int]:
        """Every file of a folder of the store, with its mtime."""
        root = Path(self.store.root) / folder
        return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def gallery(root: Path, **settings: object) -> Gallery:
    """An empty folder and a project around it; nothing was run."""
    (root / "pics").mkdir(parents=True)
    data = {
        "sources": {"pics": {"kind": "folder", "path": "pics"}},
        "models": {MODEL: {"kind": "dino", "model": "bundled:dino", "device": "cpu"}},
        **settings,
    }
    made = settings_from(Document("embeddings.yaml", data, {}), root=root)
    return Gallery(root, StageContext(made, Store.open(made.data_root, made.cache_root), "run"))
