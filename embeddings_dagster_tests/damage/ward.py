"""A small project with every kind of file that is ever committed, in several versions; made by the stages alone."""

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.engines import LocalEngine
from embeddings_dagster.exports import Wanted, export_faiss, export_json, export_npy
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Generations, write_graph_segment
from embeddings_dagster.settings import settings_from
from embeddings_dagster.settings_yaml import Document
from embeddings_dagster.stages.canaries import look_at_canaries
from embeddings_dagster.stages.catalog import refresh_catalog
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.duplicates import refresh_duplicates
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.embedding_map import refresh_map
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.models import change_registry, register
from embeddings_dagster.stages.opened import model_settings
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.store import Failure, Store
from embeddings_dagster.store.tables import embeddings
from embeddings_dagster_tests.encoders import tiny
from embeddings_dagster_tests.index import helpers
from embeddings_dagster_tests.shop import Shop, picture, tiny_png

PICTURES = 20  # of which 18 in the first batch, enough to calibrate on
COPIES = 4  # rows of the graph that repeat others


@dataclass
class Ward:
    """The project; `data` is the store's root."""

    root: Path
    context: StageContext

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def store(self) -> Store:
        """One that remembers nothing."""
        return Store.open(self.data, self.context.store.cache)

    def paint(self, name: str, number: int) -> None:
        """A picture, with a time that no coarse clock takes for that of the one before."""
        file = self.root / "pictures" / name
        before = file.stat().st_mtime_ns if file.exists() else 10**18
        tiny.picture(number).save(file)
        os.utime(file, ns=(before + 10**9, before + 10**9))


def make_ward(root: Path, shop: Shop) -> Ward:
    """Three runs of all stages, with changes between them; analyses; every format of export; a graph with copies."""
    ward = _begin(root, shop)
    for number in range(PICTURES):
        ward.paint(f"n{number:02}.png", number)
    (root / "pictures" / "broken.png").write_bytes(b"no picture at all")
    whole = (root / "pictures" / "n18.png").read_bytes()
    (root / "pictures" / "cut.png").write_bytes(whole[: len(whole) // 2])  # fails when it is decoded
    _run(ward, "first")
    ward.paint("n03.png", 103)
    ward.paint("n19.png", 119)
    (root / "pictures" / "n05.png").unlink()
    _run(ward, "second")
    ward.paint("n07.png", 107)
    _run(ward, "third")
    for model in ("clip", "dino"):
        for hold in ({"against": "0" * 64, "since": "2026-01-01T00:00:00+00:00"}, None):
            change_registry(ward.store, model, partial(dict.update, held=hold))
    _export(ward)
    _toy_index(ward)
    _toy_failures(ward)
    return ward


def _begin(root: Path, shop: Shop) -> Ward:
    (root / "pictures").mkdir()
    lines = ["product_id,title,image_url"]
    for number in range(3):
        shop[f"/{number}.png"] = picture(tiny_png(number))
        lines.append(f"p{number},jacket {number},{shop.url(f'/{number}.png')}")
    (root / "products.csv").write_text("\n".join(lines) + "\n")
    told = {
        "batch_images": 20,
        "sources": {
            "art": {"kind": "folder", "path": "pictures"},
            "shop": {"kind": "catalog", "path": "products.csv", "download": {"private_hosts": ["127.0.0.1"]}},
        },
        "models": {
            "clip": {"kind": "clip", "model": "bundled:clip", "device": "cpu"},
            "dino": {**tiny.save_dino(root / "dino").model_dump(mode="json", exclude_unset=True), "precision": "int8"},
        },
        "analysis": {"map_pictures": 4},
    }
    settings = settings_from(Document("embeddings.yaml", told, {}), root=root)
    return Ward(root, StageContext(settings, Store.open(settings.data_root, settings.cache_root), "none"))


def _run(ward: Ward, run_id: str) -> None:
    context = replace(ward.context, run_id=run_id)
    engine = LocalEngine(context.store.cache)
    for source in ("art", "shop"):
        for batch in sorted(discover(context, source, wait=True, allow_removals=True).manifest.batches):
            run_raw(context, batch)
            run_rgb(context, batch)
            for model in ("clip", "dino"):
                run_embed(context, model, model_settings(context.settings, model), engine, batch)
    for model in ("clip", "dino"):
        refresh_index(context, model)
        refresh_map(context, model)
        look_at_canaries(context, model, engine)
    refresh_catalog(context)
    refresh_duplicates(context, "clip")


def _export(ward: Ward) -> None:
    exports = ward.data / "exports"
    art = Wanted(model="clip", sources=("art",))
    export_npy(ward.context, art)
    export_npy(ward.context, art, exports / "art.npy")
    export_json(ward.context, art, exports / "web" / "art.json")
    export_faiss(ward.context, art)


def _toy_failures(ward: Ward) -> None:
    """Vectors of the toy model, one of which could not be computed: twice, so that there are failures of before."""
    table = embeddings(helpers.DIMENSION)
    for attempts in (1, 2):
        chain = ward.store.chain(f"embeddings/toy/{helpers.FP12}", "toy__000001")
        writer = chain.writer(table, run_id="toy", label={"fingerprint": helpers.FP12 + "f" * 52})
        writer.add([{"image_id": "toy:1", "region": 0, "input_hash": "1", "embedding": helpers.vector("1").tolist()}])
        why = ("embed", "NotFinite", "not finite", False, datetime.now(UTC), attempts)
        writer.fail(Failure("toy:2", 0, "2", *why))
        writer.finish(inputs={}, total=2)


def _toy_index(ward: Ward) -> None:
    """An index of a model of its own, in whose segment vectors are repeated, with deletions in a second generation."""
    identity = ModelIdentity("toy", helpers.FP12 + "f" * 52, helpers.DIMENSION, {})
    register(ward.store, "toy", identity, ward.context.settings.models["clip"])
    generations = Generations(ward.store, "toy", helpers.FP12)
    block = helpers.block([Key(f"toy:{number}", 0) for number in range(12)])
    block = block._replace(vectors=np.concatenate([block.vectors[:-COPIES], block.vectors[:COPIES]]))
    segment = write_graph_segment(
        ward.store,
        generations.folder,
        "g" * 32,
        helpers.DIMENSION,
        12,
        [block],
        tick=lambda _: None,
        tune=lambda _: None,
    )
    first = generations.commit(None, helpers.manifest(segment))
    generations.commit(first, helpers.manifest(helpers.without(generations, segment, 1, 2)))
