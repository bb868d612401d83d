"""The registry: the first fingerprint serves, and a better one takes over when it can answer for every batch."""

import threading
from pathlib import Path

import pytest

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.errors import ModelError, UnknownItem
from embeddings_dagster.settings import ModelSettings
from embeddings_dagster.stages.models import (
    ModelRecord,
    newest_version,
    records,
    register,
    serving,
    switch,
    switch_when_ready,
)
from embeddings_dagster.store import Failure, Store
from embeddings_dagster.store.tables import RGB
from embeddings_dagster_tests.stages.index_world import IDENTITY, MODEL, NOON, OTHER_IDENTITY, World, make_world, whole

SETTINGS = ModelSettings(kind="dino", model="bundled:dino", batch_size=7)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def store(world: World) -> Store:
    return world.store


def served(store: Store) -> str | None:
    record = serving(store, MODEL)
    return record.fingerprint if record else None


def identity(number: int) -> ModelIdentity:
    return ModelIdentity("bundled:dino", f"{number:064x}"[::-1], 8, {})


def rgb(world: World, batch: str) -> str:
    """Commit a version of `rgb_images` of a batch, with one failure so that it says something; returns its content."""
    chain = world.store.chain("rgb_images", f"art__{batch}")
    writer = chain.writer(RGB, run_id="run", label={"recipe": "r"})
    writer.fail(Failure(f"art:{batch}", 0, "h", "rgb_images", "DecodeFailed", "bad", False, NOON))
    return writer.finish(inputs={}, total=1).content


def test_the_first_one_serves(store: Store) -> None:
    assert serving(store, MODEL) is None
    register(store, MODEL, IDENTITY, SETTINGS, run_id="run-1")
    register(store, MODEL, OTHER_IDENTITY, SETTINGS)
    assert served(store) == IDENTITY.fingerprint
    assert [(each.fp12, each.serving) for each in records(store, MODEL)] == [
        (IDENTITY.fp12, True),
        (OTHER_IDENTITY.fp12, False),
    ]


def test_a_record_holds_all_that_loads_the_model(store: Store) -> None:
    register(store, MODEL, IDENTITY, SETTINGS, run_id="run-1")
    record = serving(store, MODEL)
    assert record is not None
    assert record.model_settings() == SETTINGS
    assert (record.name, record.dimension, record.run_id, record.details) == (MODEL, 8, "run-1", {"weights": "w"})


def test_a_folder_is_recorded_so_that_it_loads_from_anywhere(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    register(store, MODEL, IDENTITY, ModelSettings(kind="dino", model="./mine"))
    record = serving(store, MODEL)
    assert record is not None
    assert record.model_settings().model == str(tmp_path / "mine")


def test_registering_again_writes_nothing(store: Store) -> None:
    register(store, MODEL, IDENTITY, SETTINGS)
    register(store, MODEL, IDENTITY, SETTINGS)
    assert newest_version(store, MODEL) == 1


def test_registering_at_once_loses_nobody(store: Store) -> None:
    threads = [threading.Thread(target=register, args=(store, MODEL, identity(n), SETTINGS)) for n in range(1, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.fingerprint for each in records(store, MODEL)} == {identity(n).fingerprint for n in range(1, 4)}
    assert sum(each.serving for each in records(store, MODEL)) == 1


def test_switching_takes_the_first_digits(store: Store) -> None:
    register(store, MODEL, IDENTITY, SETTINGS)
    register(store, MODEL, OTHER_IDENTITY, SETTINGS)
    assert switch(store, MODEL, OTHER_IDENTITY.fp12).fingerprint == OTHER_IDENTITY.fingerprint
    assert served(store) == OTHER_IDENTITY.fingerprint


@pytest.mark.parametrize("name", ["c0ffee", ""])
def test_switching_to_nothing_known_names_what_is(store: Store, name: str) -> None:
    register(store, MODEL, IDENTITY, SETTINGS)
    with pytest.raises(UnknownItem, match="registered: 0123456789ab"):
        switch(store, MODEL, name)


def test_settings_from_the_future_are_an_error_with_a_remedy() -> None:
    record = ModelRecord(MODEL, "f" * 64, 8, {"kind": "telepathy", "model": "x"}, {}, NOON, "", True)
    with pytest.raises(ModelError, match=r"settings that this release cannot use \(kind\).*model switch toy"):
        record.model_settings()


def test_nothing_to_switch_while_the_settings_fingerprint_serves(world: World) -> None:
    register(world.store, MODEL, IDENTITY, SETTINGS)
    assert not switch_when_ready(world.context, MODEL, IDENTITY).switched


def test_a_fingerprint_without_index_does_not_serve(world: World) -> None:
    register(world.store, MODEL, IDENTITY, SETTINGS)
    outcome = switch_when_ready(world.context, MODEL, OTHER_IDENTITY)
    assert (outcome.switched, outcome.reasons) == (False, ("ba9876543210 has no index yet",))


def test_the_switch_follows_when_all_batches_are_complete_and_the_checks_pass(world: World) -> None:
    contents = {batch: rgb(world, batch) for batch in ("1", "2")}
    new = World(world.context, world.log, OTHER_IDENTITY)
    for batch, content in contents.items():
        world.write(batch, whole(f"p{batch}"), rgb=content)
    world.refresh()

    new.write("1", whole("p1"), rgb=contents["1"])
    new.refresh()
    assert switch_when_ready(world.context, MODEL, OTHER_IDENTITY).reasons == ("batch art__2 is not encoded",)

    new.write("2", whole("p2"), rgb="an older state of rgb_images")
    reasons = switch_when_ready(world.context, MODEL, OTHER_IDENTITY).reasons
    assert reasons[0] == "batch art__2 is out of date"
    assert reasons[1].startswith("index_consumed_is_current: 1 batches changed since")
    assert reasons[2].startswith("index_rows_equal_live_rows: 1 rows for 2 live ones")
    assert served(world.store) == IDENTITY.fingerprint

    new.write("2", whole("p2"), rgb=contents["2"])
    new.refresh()
    outcome = switch_when_ready(world.context, MODEL, OTHER_IDENTITY)
    assert (outcome.switched, outcome.reasons, outcome.serving) == (True, (), OTHER_IDENTITY.fingerprint)
    assert served(world.store) == OTHER_IDENTITY.fingerprint
    assert not switch_when_ready(world.context, MODEL, OTHER_IDENTITY).switched
