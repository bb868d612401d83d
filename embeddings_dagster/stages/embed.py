"""`<model>_embeddings`: one vector a region, made only where no equal (input, fingerprint) has one already."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from embeddings_dagster.encoders import Encoded, ModelIdentity, Region, Unit, identify
from embeddings_dagster.engines import Engine
from embeddings_dagster.ids import Key
from embeddings_dagster.images import Box
from embeddings_dagster.settings import ModelSettings
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.carry_out import Job, Made, Row, by_image, carry_out
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.opened import workshop
from embeddings_dagster.stages.plan import Plan
from embeddings_dagster.stages.rgb import complete
from embeddings_dagster.store import Chain, Manifest
from embeddings_dagster.store.tables import embeddings

UPSTREAM = "rgb_images"
RELIST_SECONDS = 30.0  # what other processes commit meanwhile may be missed that long: vectors are then computed twice
COLUMNS = ("image_id", "region", "input_hash", "image", "box", "text")


def dataset(model: str, identity: ModelIdentity) -> str:
    """Where the vectors of a model's fingerprint lie."""
    return f"embeddings/{model}/{identity.fp12}"


def run_embed(context: StageContext, name: str, model: ModelSettings, engine: Engine, batch: str) -> Account:
    """Bring the embeddings of one batch, by one model, to the state of its `rgb_images`.

    `model` is the settings' model of that name, perhaps with the run's own device or batch size.

    Raises:
        UnknownItem: the batch has no complete `rgb_images` yet.
        ModelError: the model cannot be loaded.
    """
    upstream = context.store.chain(UPSTREAM, batch)
    rgb = complete(upstream.latest(), UPSTREAM, batch)
    identity = identify(model)
    keys = upstream.rows(rgb, ("image_id", "region", "input_hash"))
    wanted = {
        Key(image_id, region): input_hash
        for image_id, region, input_hash in zip(*(column.to_pylist() for column in keys.columns), strict=True)
    }
    work = _Work(context, name, model, identity, engine, upstream, rgb, wanted)
    account = carry_out(
        context,
        Job(
            stage=f"{name}_embeddings",
            chain=context.store.chain(dataset(name, identity), batch),
            table=embeddings(identity.dimension),
            label={"fingerprint": identity.fingerprint},
            wanted=wanted,
            inputs={f"{UPSTREAM}/{batch}": {"version": rgb.version, "content": rgb.content}},
            make=work.make,
        ),
    )
    if account.processed:
        context.store.vectors(name, identity.fp12).sync_batch(batch)
    return account


class _Work:
    """Makes the images of a plan: first those whose vectors exist elsewhere, then the rest by the model."""

    def __init__(
        self,
        context: StageContext,
        name: str,
        model: ModelSettings,
        identity: ModelIdentity,
        engine: Engine,
        upstream: Chain,
        rgb: Manifest,
        wanted: Mapping[Key, str],
    ) -> None:
        self._context, self._name, self._model, self._identity = context, name, model, identity
        self._engine, self._upstream, self._rgb, self._wanted = engine, upstream, rgb, wanted

    def make(self, plan: Plan) -> Iterator[Made]:
        if not plan.todo:
            return
        left = dict.fromkeys(plan.todo)
        if not self._context.force:
            for made in self._reused(plan.todo):
                for row in made.rows:
                    del left[Key(made.image_id, int(str(row["region"])))]
                yield made
        if left:
            yield from self._encoded(left.keys())

    def _reused(self, todo: Collection[Key]) -> Iterator[Made]:
        lookup = self._context.store.vectors(self._name, self._identity.fp12)
        lookup.sync(every=RELIST_SECONDS)
        found = lookup.find({self._wanted[key] for key in todo})
        for image_id, regions in by_image(todo).items():
            hashes = {region: self._wanted[Key(image_id, region)] for region in regions}
            if found and all(each in found for each in hashes.values()):
                rows = [self._row(image_id, region, found[each]) for region, each in hashes.items()]
                yield Made(image_id, rows, reused=len(rows))

    def _encoded(self, todo: Collection[Key]) -> Iterator[Made]:
        batches = self._upstream.scan(self._rgb, COLUMNS, keys=todo)
        with workshop(self._context.settings) as pictures:
            for each in self._engine.encode(self._model, units(batches), pictures.decode, stop=self._context.stop):
                yield self._made(each)

    def _made(self, encoded: Encoded) -> Made:
        unit = encoded.unit
        if encoded.error is not None:
            return Made(unit.image_id, errors={region.region: encoded.error for region in unit.regions})
        assert encoded.vectors is not None
        pairs = zip(unit.regions, encoded.vectors, strict=True)
        return Made(unit.image_id, [self._row(unit.image_id, region.region, vector) for region, vector in pairs])

    def _row(self, image_id: str, region: int, vector: np.ndarray) -> Row:
        return {
            "image_id": image_id,
            "region": region,
            "input_hash": self._wanted[Key(image_id, region)],
            "embedding": vector,
            "norm": float(np.linalg.norm(vector)),
            "precision": self._model.precision,
            "run_id": self._context.run_id,
        }


def units(batches: Iterator[pa.RecordBatch]) -> Iterator[Unit]:
    """Rows of `rgb_images`, an image's regions side by side, as the units that encoders take."""
    held: list[dict[str, Any]] = []
    for batch in batches:
        for row in batch.to_pylist():
            if held and held[0]["image_id"] != row["image_id"]:
                yield _unit(held)
                held = []
            held.append(row)
    if held:
        yield _unit(held)


def _unit(rows: list[dict[str, Any]]) -> Unit:
    regions = tuple(
        Region(row["region"], Box(**row["box"]) if row["box"] else None, row["text"], row["input_hash"])
        for row in sorted(rows, key=lambda row: row["region"])
    )
    data = next(row["image"]["bytes"] for row in rows if row["region"] == 0)
    return Unit(rows[0]["image_id"], data, regions)
