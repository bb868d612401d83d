"""The promise of recall as Dagster shows it: a plot with the materialisation, and a check that stops what follows."""

import base64
import csv
import io
from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.index import GenerationManifest, Generations, SegmentEntry, strategy
from embeddings_dagster.settings import Settings, load_settings
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.store.tables import embeddings

ROWS = 300
SETTINGS = """
models: {dino: {kind: dino, model: "bundled:dino"}, clip: {kind: clip, model: "bundled:clip"}}
sources: {pics: {kind: catalog, path: products.csv, text: [title]}}
index: {hnsw_rows: 200}
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A project in which two hundred rows are many: comparing them is said to cost more than a graph."""
    monkeypatch.setattr(strategy, "GRAPH_START", 0.0)
    monkeypatch.setattr(strategy, "GRAPH_PLACE", 0.1)
    with (tmp_path / "products.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["id", "title", "image_url"], ["1", "a red jacket", "http://example.invalid/1.png"]]
        )
    (tmp_path / "embeddings.yaml").write_text(SETTINGS)
    return load_settings(tmp_path / "embeddings.yaml")


def embed(project: Project, model: str) -> None:
    """Three hundred vectors of a model, a fifth of them the same."""
    identity = project.identity(model)
    drawn = np.random.default_rng(0).standard_normal((ROWS, identity.dimension)).astype(np.float32)
    drawn[::5] = drawn[0]
    vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    chain = project.store.chain(dataset(model, identity), "pics__000001")
    label = {"fingerprint": identity.fingerprint}
    writer = chain.writer(embeddings(identity.dimension), run_id="run", label=label)
    about = {"region": 0, "norm": 1.0, "precision": "fp32", "run_id": "run"}
    for number, vector in enumerate(vectors):
        name = f"pics:{number:03}"
        writer.add([{"image_id": name, "input_hash": name, "embedding": vector, **about}])
    writer.finish(inputs={"rgb_images/pics__000001": {"version": 1, "content": "rgb"}}, total=ROWS)


def materialise(project: Project, model: str, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """The index and its checks, in a real run."""
    job = project_defs(project).resolve_implicit_global_asset_job_def()
    asset = dg.AssetKey(f"{model}_index")
    return job.execute_in_process(instance=instance, asset_selection=[asset], raise_on_error=False)


def newest(project: Project, model: str) -> tuple[Generations, GenerationManifest]:
    generations = Generations(project.store, model, project.identity(model).fp12)
    manifest = generations.latest()
    assert manifest is not None
    return generations, manifest


def recall_check(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    [found] = [each for each in result.get_asset_check_evaluations() if each.check_name == "recall"]
    return found


@pytest.mark.parametrize("model", ["dino", "clip_text"])
def test_a_graph_is_plotted_and_passes_its_check(project: Project, instance: dg.DagsterInstance, model: str) -> None:
    embed(project, model)
    result = materialise(project, model, instance)
    assert result.success
    [event] = result.asset_materializations_for_node(f"{model}_index")
    said = {name: value.value for name, value in event.metadata.items()}
    assert said["segment_kinds"] == {"hnsw_fp16": 1}
    assert said["recall_at_10"] >= 0.95
    before, encoded = said["recall_curves"].removesuffix(")").split("base64,")
    assert before == "![recall by length of the list](data:image/png;"
    with Image.open(io.BytesIO(base64.b64decode(encoded, validate=True))) as plot:
        plot.load()
        assert (plot.format, plot.size) == ("PNG", (480, 240))
        assert len(plot.getcolors()) > 3
    check = recall_check(result)
    assert (check.passed, check.blocking) == (True, True)
    assert check.metadata["queries"].value == 200
    [entry] = newest(project, model)[1].segments
    assert entry.recall is not None
    assert [kind.kind for kind in entry.recall.kinds] == (["rows"] if model == "dino" else ["rows", "texts"])
    assert "copies.npy" in entry.files


def tuned_to(entry: SegmentEntry, mean: float) -> SegmentEntry:
    assert entry.recall is not None
    kinds = tuple(replace(kind, mean=mean) for kind in entry.recall.kinds)
    return replace(entry, recall=replace(entry.recall, kinds=kinds))


def test_an_index_that_finds_too_little_fails_the_run(project: Project, instance: dg.DagsterInstance) -> None:
    embed(project, "dino")
    assert materialise(project, "dino", instance).success
    generations, manifest = newest(project, "dino")
    segments = tuple(tuned_to(entry, 0.9) for entry in manifest.segments)
    generations.commit(manifest, replace(manifest, segments=segments))
    result = materialise(project, "dino", instance)
    assert not result.success
    check = recall_check(result)
    assert (check.passed, check.blocking, check.severity) == (False, True, dg.AssetCheckSeverity.ERROR)
    assert "was tuned to 0.9 for rows" in (check.description or "")
    assert "embeddings index compact" in (check.description or "")
