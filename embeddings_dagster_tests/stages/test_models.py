"""The registry: the first fingerprint serves, and every one is recorded with all that loads it."""

import threading
from pathlib import Path

import pytest

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.errors import ModelError
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.models import ModelRecord, newest_version, records, register, serving
from embeddings_dagster.store import Store
from embeddings_dagster_tests.stages.index_world import IDENTITY, MODEL, NOON, OTHER_IDENTITY, World, make_world

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


def test_settings_from_the_future_are_an_error_with_a_remedy() -> None:
    record = ModelRecord(MODEL, "f" * 64, 8, {"kind": "telepathy", "model": "x"}, {}, NOON, "", True)
    with pytest.raises(ModelError, match=r"settings that this release cannot use \(kind\).*model switch toy"):
        record.model_settings()
