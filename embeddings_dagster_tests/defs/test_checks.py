"""The checks find what they promise to find, in real files that were made wrong on purpose."""

import io
from collections.abc import Callable, Mapping

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.findings import (
    counts_reconcile,
    images_listed,
    pictures_are_rgb,
    regions_described,
    vectors_are_sound,
)
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.ids import Key
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.store.tables import RGB, embeddings

KEY = "pics__000001"


@pytest.fixture
def pixels(project: Project, stage: StageContext, looks_at_once: None) -> Project:
    """A project with one batch up to rgb_images."""
    discover(stage, "pics", wait=True)
    run_raw(stage, KEY)
    run_rgb(stage, KEY)
    return project


def rewrite(project: Project, change: Callable[[dict[str, object]], Mapping[str, object]]) -> None:
    """Commit every row of rgb_images anew, changed."""
    chain = project.store.chain("rgb_images", KEY)
    manifest = chain.latest()
    writer = chain.writer(RGB, run_id="wrong", label=manifest.label)
    for row in chain.rows(manifest).to_pylist():
        writer.add([change(row)])
    writer.finish(inputs=manifest.inputs, total=manifest.counts.total)


def test_good_batches_pass(pixels: Project) -> None:
    assert counts_reconcile(pixels.store, "raw_images", KEY, images_listed(pixels.store, "pics", KEY)).passed
    assert counts_reconcile(pixels.store, "rgb_images", KEY, regions_described(pixels.store, KEY)).passed
    found = pictures_are_rgb(pixels.store, KEY)
    assert (found.passed, found.looked_at) == (True, 2)


def test_counts_that_upstream_does_not_bear_out(pixels: Project) -> None:
    offered = {Key(f"pics:{name}.png", 0) for name in ("000", "001", "lost")}
    found = counts_reconcile(pixels.store, "rgb_images", KEY, offered)
    assert "rgb_images of pics__000001 lost count: 2 inputs taken, upstream offers 3: pics:lost.png" in str(found)
    found = counts_reconcile(pixels.store, "rgb_images", "pics__000002", None)
    assert (found.passed, found.missing) == (False, True)


def test_a_picture_with_alpha_and_one_that_is_none_are_named(pixels: Project) -> None:
    def spoil(row: dict[str, object]) -> Mapping[str, object]:
        out = io.BytesIO()
        Image.new("RGBA", (4, 4)).save(out, "PNG")
        data = out.getvalue() if row["image_id"] == "pics:000.png" else b"not a picture"
        return {**row, "image": {"bytes": data, "path": None}}

    rewrite(pixels, spoil)
    found = pictures_are_rgb(pixels.store, KEY)
    assert "pics:000.png is RGBA" in str(found)
    assert "pics:001.png is not readable" in str(found)


@pytest.mark.parametrize(("scale", "recorded"), [(2.0, 2.0), (float("nan"), 1.0), (1.0, 0.5)])
def test_vectors_that_are_not_sound_are_named(pixels: Project, scale: float, recorded: float) -> None:
    identity = pixels.identity("dino")
    chain = pixels.store.chain(dataset("dino", identity), KEY)
    writer = chain.writer(embeddings(identity.dimension), run_id="wrong", label={"fingerprint": identity.fingerprint})
    vector = np.zeros(identity.dimension, np.float32)
    vector[0] = 1
    row = {"region": 0, "input_hash": "h", "precision": "fp32", "run_id": "wrong"}
    writer.add([{**row, "image_id": "pics:a.png", "embedding": vector, "norm": 1.0}])
    writer.add([{**row, "image_id": "pics:b.png", "embedding": vector * np.float32(scale), "norm": recorded}])
    writer.finish(inputs={}, total=2)
    found = vectors_are_sound(pixels.store, "dino", identity, KEY)
    assert (found.passed, found.looked_at, len(found.wrong)) == (False, 2, 1)
    assert found.wrong[0].startswith("pics:b.png: norm")


def test_a_failed_check_shows_on_the_asset_of_its_batch(pixels: Project, instance: dg.DagsterInstance) -> None:
    rewrite(pixels, lambda row: {**row, "image": {"bytes": b"", "path": None}})
    definitions = project_defs(pixels)
    instance.add_dynamic_partitions("image_batches", [KEY])
    check = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("rgb_images"), "rgb_only"))
    job = dg.define_asset_job("one_check", selection=check)
    job_definition = dg.Definitions(
        assets=definitions.assets, asset_checks=definitions.asset_checks, jobs=[job]
    ).resolve_job_def("one_check")
    result = job_definition.execute_in_process(instance=instance)
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.metadata["wrong_batches"].value == [KEY]
