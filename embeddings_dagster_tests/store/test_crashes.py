"""A kill at every named step of a commit leaves the old state or the new one, and costs one part at most."""

import subprocess
import sys
from pathlib import Path

import pytest

from embeddings_dagster.ids import Key
from embeddings_dagster.store import Store
from embeddings_dagster.store.steps import STEPS, reached
from embeddings_dagster_tests.store.crash_driver import (
    FIRST,
    FIRST_FAILED,
    PART,
    SECOND,
    SECOND_FAILED,
    Scene,
    bring_to_second,
    open_store,
    second_chain,
    second_ledger,
)
from embeddings_dagster_tests.store.helpers import chain_of, said, writer_of
from embeddings_dagster_tests.store.places import Place

OLD = {**{Key(image, 0): value for image, value in FIRST.items()}, Key("art:x", 0): FIRST_FAILED}
NEW = {**{Key(image, 0): value for image, value in SECOND.items()}, Key("art:x", 0): SECOND_FAILED}


PROJECT = Path(__file__).parents[2]
STEPS_OF_FILES = {"write:begun", "write:temporary", "write:published"}
STEPS_OF_MANIFESTS = {"create:temporary", "create:linked", "manifest:created"}
STEPS_OF_A_BATCH = {*STEPS_OF_FILES, *STEPS_OF_MANIFESTS, "part:written", "failures:written", "fold:written"}
STEPS_OF_A_LEDGER = {*STEPS_OF_FILES, *STEPS_OF_MANIFESTS, "ledger:written"}


def kill_at(steps: set[str], place: Place, scenario: str) -> list[Scene]:
    """What processes left behind that were killed at each of the steps, each time it was reached; in a bucket, where a
    process takes longer to begin, the first time."""
    times = 1 if place.root.startswith("s3://") else 1000
    driver = [sys.executable, "-m", "embeddings_dagster_tests.store.crash_driver"]
    wanted = [str(place.folder), place.root, str(times), scenario, *sorted(steps)]
    done = subprocess.run([*driver, *wanted], capture_output=True, text=True, timeout=120, check=False, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    return [Scene.of(place.root, place.folder, name) for name in done.stdout.split()]


def notes(scene: Scene, name: str) -> list[str]:
    file = scene.folder / name
    return file.read_text().split() if file.exists() else []


def steps_of(scenes: list[Scene]) -> set[str]:
    return {scene.folder.name.rsplit(".", 1)[0].replace("-", ":") for scene in scenes}


def test_a_kill_at_any_step_of_a_batch_leaves_the_old_state_or_the_new_one(place: Place) -> None:
    scenes = kill_at(STEPS_OF_A_BATCH, place, "chain")
    assert steps_of(scenes) == STEPS_OF_A_BATCH
    outcomes = []
    for scene in scenes:
        store = open_store(scene)
        chain = chain_of(store)
        outcomes.append(said(chain, chain.latest()))
        assert outcomes[-1] in (OLD, NEW), scene.folder.name
        assert store.verify() == [], scene.folder.name

        made = notes(scene, "made")
        bring_to_second(writer_of(chain, PART), scene.folder / "made again")
        again = notes(scene, "made again")
        assert len(set(made) & set(again)) <= PART.images, scene.folder.name
        assert set(made) | set(again) >= SECOND.keys() - {"art:2"}
        assert said(chain, chain.latest()) == NEW, scene.folder.name
        assert store.verify() == [], scene.folder.name
    assert OLD in outcomes
    assert NEW in outcomes


def test_a_kill_at_any_step_of_a_ledger_leaves_the_old_state_or_the_new_one(place: Place) -> None:
    steps = STEPS_OF_A_LEDGER - (STEPS_OF_FILES if place.root.startswith("s3://") else set())  # killed above, there
    scenes = kill_at(steps, place, "ledger")
    assert steps_of(scenes) == steps
    outcomes = []
    for scene in scenes:
        store = open_store(scene)
        ledger = store.ledger("art")
        manifest = ledger.latest()
        assert manifest is not None
        sizes = {name: ledger.rows(manifest, name).column("size").to_pylist() for name in manifest.batches}
        outcomes.append(sizes)
        assert sizes in ({"a": [1], "b": [1]}, {"a": [2], "b": [2], "c": [2]}), scene.folder.name
        assert store.verify() == [], scene.folder.name
        second_ledger(scene)
        latest = ledger.latest()
        assert latest is not None
        assert (latest.version, sorted(latest.batches)) == (2, ["a", "b", "c"]), scene.folder.name
    assert len({len(sizes) for sizes in outcomes}) == 2


def test_without_the_hook_nothing_is_killed(place: Place) -> None:
    scene = Scene(place.root, place.folder)
    second_chain(scene)
    assert said(chain_of(open_store(scene)), chain_of(open_store(scene)).latest()) == NEW
    for step in STEPS:
        reached(step)


@pytest.mark.local_disk("what is unfinished lies in the store; on its way to a bucket it lies in the cache")
def test_what_a_killed_process_left_unfinished_is_listed_nowhere(place: Place) -> None:
    scene = kill_at({"write:temporary"}, place, "chain")[0]
    assert list(Path(scene.root).rglob(".*.tmp"))
    store: Store = open_store(scene)
    assert all(".tmp" not in path for path in chain_of(store).stored())


def test_every_step_of_the_store_is_killed_here() -> None:
    own = ("write:", "create:", "manifest:", "part:", "failures:", "fold:", "ledger:")  # all others: `torture`
    assert {step for step in STEPS if step.startswith(own)} == STEPS_OF_A_BATCH | STEPS_OF_A_LEDGER
