"""A folder of pictures brought as far as `rgb_images`: all that status, explain and tally need, without a model."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from embeddings_dagster.settings import Settings, settings_from
from embeddings_dagster.settings_yaml import Document
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.store import Store

BATCH = "pics__000001"


@dataclass
class SmallProject:
    """`step(run_id)` looks at the folder and brings the batch up to date."""

    root: Path
    context: StageContext

    @property
    def pics(self) -> Path:
        return self.root / "pics"

    @property
    def store(self) -> Store:
        return self.context.store

    @property
    def settings(self) -> Settings:
        return self.context.settings

    def paint(self, name: str, colour: str) -> None:
        """A picture of one colour, with a time that no coarse clock takes for that of the one before."""
        file = self.pics / name
        before = file.stat().st_mtime_ns if file.exists() else 10**18
        Image.new("RGBA", (16, 12), colour).save(file)
        os.utime(file, ns=(before + 10**9, before + 10**9))

    def discover(self, run_id: str) -> None:
        discover(replace(self.context, run_id=run_id), "pics", wait=True, allow_removals=True)

    def raw(self, run_id: str) -> None:
        run_raw(replace(self.context, run_id=run_id), BATCH)

    def rgb(self, run_id: str) -> None:
        run_rgb(replace(self.context, run_id=run_id), BATCH)

    def step(self, run_id: str) -> None:
        self.discover(run_id)
        self.raw(run_id)
        self.rgb(run_id)


def opened_project(root: Path, **settings: object) -> SmallProject:
    """Whatever lies in `root`, with a store that remembers nothing."""
    data = {"sources": {"pics": {"kind": "folder", "path": "pics"}}, **settings}
    made = settings_from(Document("embeddings.yaml", data, {}), root=root)
    return SmallProject(root, StageContext(made, Store.open(made.data_root, made.cache_root), "none"))


def small_project(root: Path, **settings: object) -> SmallProject:
    """`a.png`, `b.png`, and `c.png`, which is no picture; nothing was run."""
    project = opened_project(root, **settings)
    project.pics.mkdir()
    project.paint("a.png", "red")
    project.paint("b.png", "blue")
    (project.pics / "c.png").write_bytes(b"no picture at all")
    return project
