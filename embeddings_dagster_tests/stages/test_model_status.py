"""What is said of a model's fingerprints, whatever state their files are in."""

from pathlib import Path

import pytest

from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.model_status import ModelStatus, model_statuses
from embeddings_dagster.stages.switching import switch_by_hand
from embeddings_dagster_tests.stages.index_world import IDENTITY, MODEL, OTHER_IDENTITY, World, make_world, whole

PICTURES = whole(*(f"p{number}" for number in range(60)))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Sixty pictures, indexed by the fingerprint that serves."""
    world = make_world(tmp_path)
    world.write("1", PICTURES)
    world.refresh()
    return world


def statuses(world: World) -> list[ModelStatus]:
    """As they are while the settings ask for the other fingerprint."""
    return model_statuses(world.store, world.context.settings, {MODEL: OTHER_IDENTITY})


def test_the_wanted_one_comes_first_and_alone_has_a_changeover(world: World) -> None:
    wanted, serving = statuses(world)
    assert (wanted.fingerprint, wanted.wanted, wanted.serving, wanted.index) == (
        OTHER_IDENTITY.fingerprint, True, False, None,
    )  # fmt: skip
    assert (serving.fingerprint, serving.wanted, serving.serving) == (IDENTITY.fingerprint, False, True)
    assert wanted.changeover is not None
    assert (wanted.changeover.serving, wanted.changeover.held) == (IDENTITY.fingerprint, False)
    assert serving.changeover is None


def test_there_is_none_before_anything_serves_and_after_the_switch(world: World, tmp_path: Path) -> None:
    [alone] = statuses(make_world(tmp_path / "other"))
    assert (alone.wanted, alone.changeover) == (True, None)
    new = World(world.context, world.log, OTHER_IDENTITY)
    new.write("1", PICTURES)
    new.refresh()
    switch_by_hand(world.store, MODEL, OTHER_IDENTITY)
    assert [each.changeover for each in statuses(world)] == [None, None]


def test_a_hold_is_said(world: World) -> None:
    switch_by_hand(world.store, MODEL, OTHER_IDENTITY, IDENTITY.fp12)
    change = statuses(world)[0].changeover
    assert change is not None
    assert change.held


def test_vectors_that_cannot_be_read_cost_the_overlap_alone(world: World) -> None:
    new = World(world.context, world.log, OTHER_IDENTITY)
    new.write("1", PICTURES)
    for part in Path(world.store.root, dataset(MODEL, OTHER_IDENTITY)).rglob("parts/*.parquet"):
        part.unlink()
    change = statuses(world)[0].changeover
    assert change is not None
    assert change.overlap is None
    assert "parts/" in change.no_overlap


def test_a_damaged_manifest_is_said_of_the_index_and_stops_nothing(world: World) -> None:
    new = World(world.context, world.log, OTHER_IDENTITY)
    new.write("1", PICTURES)
    new.refresh()
    Path(world.store.root, dataset(MODEL, OTHER_IDENTITY), "art__1", "manifests", "00000001.json").write_text("{}")
    index = statuses(world)[0].index
    assert index is not None
    assert not index.current
    assert "does not hold what was committed" in index.why
