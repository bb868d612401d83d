"""A switch that is due is asked for, though no index lags behind: its run may have been killed before it."""

import dagster as dg
import pytest
import yaml

from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.sensors import index_requests
from embeddings_dagster.defs.tags import MODEL
from embeddings_dagster.settings import load_settings
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.stages.switching import switch_by_hand, switch_when_ready
from embeddings_dagster_tests.defs.making import make_pictures, make_settings

BATCH = "pics__000001"


def opened(root, kind: str) -> tuple[Project, StageContext]:
    """The project whose model `look` is of this kind."""
    make_settings(root)
    file = root / "embeddings.yaml"
    document = {**yaml.safe_load(file.read_text()), "models": {"look": {"kind": kind, "model": f"bundled:{kind}"}}}
    file.write_text(yaml.safe_dump(document))
    project = Project(load_settings(file))
    return project, StageContext(project.settings, project.store, "run")


def encode(project: Project, stage: StageContext) -> None:
    run_embed(stage, "look", project.settings.models["look"], project.engine, BATCH)
    refresh_index(stage, "look")


def wanted(instance: dg.DagsterInstance, project: Project) -> list[str]:
    return [each.tags[MODEL] for each in index_requests(instance, project)[0] if MODEL in each.tags]


@pytest.mark.usefixtures("looks_at_once")
def test_a_switch_that_was_missed_is_asked_for_unless_it_is_held(tmp_path, instance: dg.DagsterInstance) -> None:
    make_pictures(tmp_path / "pics", 2)
    project, stage = opened(tmp_path, "dino")
    discover(stage, "pics", wait=True)
    run_raw(stage, BATCH)
    run_rgb(stage, BATCH)
    encode(project, stage)
    assert wanted(instance, project) == []
    old = project.identity("look").fp12

    project, stage = opened(tmp_path, "clip")
    assert wanted(instance, project) == [], "nothing is encoded yet, and its batches are asked for elsewhere"
    encode(project, stage)  # and the run ends here
    assert wanted(instance, project) == ["look"]
    switch_by_hand(project.store, "look", project.identity("look"), old)
    assert wanted(instance, project) == []
    switch_by_hand(project.store, "look", project.identity("look"))
    assert not switch_when_ready(stage, "look").switched
    assert wanted(instance, project) == []
