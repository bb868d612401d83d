"""The projects that are measured: their settings, what is in their stores, and how that is forgotten again.

Each has two sources: `pictures`, which is measured, and `warm`, a few pictures more, on which everything is done once
before the clock starts, so that models are loaded, modules imported, and a precision's gate is passed.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from encoding_inputs import pile

PICTURES, WARM = "pictures", "warm"
WARM_PICTURES = 40  # more than the gate looks at
KEPT_OF_CACHE = ("int8", "openvino")
STAGES = ("sources", "raw_images", "rgb_images", "embeddings", "indexes", "catalog")


def write_project(root: Path, pictures: Path, kind: str, models: Mapping[str, Mapping[str, object]] | None) -> None:
    """A project over a folder of pictures; without `models`, one with the bundled ones, and nothing to warm up with."""
    root.mkdir(parents=True, exist_ok=True)
    settings: dict[str, object] = {"sources": {PICTURES: {"kind": "folder", "path": str(pictures.absolute())}}}
    if models is not None:
        warm = pile(root / "warm", kind, WARM_PICTURES, first=1_000_000)
        settings["sources"][WARM] = {"kind": "folder", "path": str(warm.absolute())}  # type: ignore[index]
        settings["models"] = dict(models)
    (root / "embeddings.yaml").write_text(json.dumps(settings, indent=1))


def forget(root: Path, names: Iterable[str]) -> None:
    """Remove what is named from the store, and all that is remembered of it; calibrations stay."""
    for name in names:
        shutil.rmtree(root / "data" / name, ignore_errors=True)
    cache = root / "data" / "cache"
    for entry in cache.iterdir() if cache.exists() else ():
        if entry.name in KEPT_OF_CACHE:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


class Opened:
    """A project as the stages see it."""

    def __init__(self, root: Path) -> None:
        from embeddings_dagster.engines import LocalEngine
        from embeddings_dagster.settings import load_settings
        from embeddings_dagster.stages.context import StageContext
        from embeddings_dagster.store import Store

        self.settings = load_settings(root / "embeddings.yaml")
        self.store = Store.open(self.settings.data_root, self.settings.cache_root)
        self.context = StageContext(self.settings, self.store, "benchmark")
        self.engine = LocalEngine(self.store.cache)

    def discover(self, source: str) -> None:
        from embeddings_dagster.stages.discover import discover

        discover(self.context, source, wait=True)

    def batches(self, source: str) -> list[str]:
        manifest = self.store.ledger(source).latest()
        return list(manifest.batches) if manifest else []

    def raw(self, source: str) -> None:
        from embeddings_dagster.stages.raw import run_raw

        for batch in self.batches(source):
            run_raw(self.context, batch)

    def rgb(self, source: str) -> None:
        from embeddings_dagster.stages.rgb import run_rgb

        for batch in self.batches(source):
            run_rgb(self.context, batch)

    def embed(self, source: str, name: str) -> None:
        from embeddings_dagster.stages.embed import run_embed

        for batch in self.batches(source):
            run_embed(self.context, name, self.settings.spaces[name], self.engine, batch)

    def index(self, name: str) -> None:
        from embeddings_dagster.stages.index import refresh_index

        refresh_index(self.context, name)

    def catalog(self) -> None:
        from embeddings_dagster.stages.catalog import refresh_catalog

        refresh_catalog(self.context)

    def encoder(self, name: str) -> Any:
        """The loaded model, calibrated if it is of a kind that has to be."""
        from embeddings_dagster.encoders import load
        from embeddings_dagster.stages.calibration import bring_here, with_calibration

        model = with_calibration(self.store, name, self.settings.spaces[name])
        bring_here(self.store, name, model)
        return load(model, cache=self.store.cache)

    def calibrate(self, name: str) -> None:
        """On the pictures that are measured, as the first run over them would."""
        from embeddings_dagster.stages.calibration import calibrate

        calibrate(self.context, name, self.settings.spaces[name], self.batches(PICTURES)[0])

    def rows(self, source: str, stage: str, columns: tuple[str, ...]) -> Iterable[dict[str, Any]]:
        """Committed rows of a stage, row group by row group."""
        for batch in self.batches(source):
            chain = self.store.chain(stage, batch)
            for part in chain.scan(chain.latest(), columns):
                yield from part.to_pylist()

    def vectors(self, name: str) -> tuple[np.ndarray, Counter[str]]:
        """All vectors, in the order of the pictures' names, and how many have which precision."""
        from embeddings_dagster.stages.embed import dataset
        from embeddings_dagster.stages.identities import identity

        stage = dataset(name, identity(self.store, name, self.settings.spaces[name]))
        rows = sorted(
            self.rows(PICTURES, stage, ("image_id", "embedding", "precision")), key=lambda row: row["image_id"]
        )
        return np.array([row["embedding"] for row in rows], np.float32), Counter(row["precision"] for row in rows)
