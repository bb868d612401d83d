"""A kill at every named step of a commit leaves the old state or the new one, and costs one part at most."""

import subprocess
import sys
from pathlib import Path

from embeddings_dagster.ids import Key
from embeddings_dagster.store import Store
from embeddings_dagster.store.steps import STEPS, reached
from embeddings_dagster_tests.store.crash_driver import (
    FIRST,
    FIRST_FAILED,
    PART,
    SECOND,
    SECOND_FAILED,
    bring_to_second,
    open_store,
    second_chain,
    second_ledger,
)
from embeddings_dagster_tests.store.helpers import chain_of, said, writer_of

OLD = {**{Key(image, 0): value for image, value in FIRST.items()}, Key("art:x", 0): FIRST_FAILED}
NEW = {**{Key(image, 0): value for image, value in SECOND.items()}, Key("art:x", 0): SECOND_FAILED}


PROJECT = Path(__file__).parents[2]
STEPS_OF_FILES = {"write:begun", "write:temporary", "write:published"}
STEPS_OF_MANIFESTS = {"create:temporary", "create:linked", "manifest:created"}
STEPS_OF_A_BATCH = {*STEPS_OF_FILES, *STEPS_OF_MANIFESTS, "part:written", "failures:written", "fold:written"}
STEPS_OF_A_LEDGER = {*STEPS_OF_FILES, *STEPS_OF_MANIFESTS, "ledger:written"}


def kill_at(steps: set[str], folder: Path, scenario: str) -> list[Path]:
    """The folders that processes left behind that were killed at each of the steps, each time it was reached."""
    driver = [sys.executable, "-m", "embeddings_dagster_tests.store.crash_driver", str(folder), scenario, *steps]
    done = subprocess.run(driver, capture_output=True, text=True, timeout=120, check=False, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    return [folder / name for name in done.stdout.split()]


def steps_of(places: list[Path]) -> set[str]:
    return {place.name.rsplit(".", 1)[0].replace("-", ":") for place in places}


def test_a_kill_at_any_step_of_a_batch_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    places = kill_at(STEPS_OF_A_BATCH, tmp_path, "chain")
    assert steps_of(places) == STEPS_OF_A_BATCH
    outcomes = []
    for place in places:
        store = open_store(place)
        chain = chain_of(store)
        outcomes.append(said(chain, chain.latest()))
        assert outcomes[-1] in (OLD, NEW), place.name
        assert store.verify() == [], place.name

        made = (place / "made").read_text().split() if (place / "made").exists() else []
        bring_to_second(writer_of(chain, PART), place / "made again")
        again = (place / "made again").read_text().split() if (place / "made again").exists() else []
        assert len(set(made) & set(again)) <= PART.images, place.name
        assert set(made) | set(again) >= SECOND.keys() - {"art:2"}
        assert said(chain, chain.latest()) == NEW, place.name
        assert store.verify() == [], place.name
    assert OLD in outcomes
    assert NEW in outcomes


def test_a_kill_at_any_step_of_a_ledger_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    places = kill_at(STEPS_OF_A_LEDGER, tmp_path, "ledger")
    assert steps_of(places) == STEPS_OF_A_LEDGER
    outcomes = []
    for place in places:
        store = open_store(place)
        ledger = store.ledger("art")
        manifest = ledger.latest()
        assert manifest is not None
        sizes = {name: ledger.rows(manifest, name).column("size").to_pylist() for name in manifest.batches}
        outcomes.append(sizes)
        assert sizes in ({"a": [1], "b": [1]}, {"a": [2], "b": [2], "c": [2]}), place.name
        assert store.verify() == [], place.name
        second_ledger(place)
        latest = ledger.latest()
        assert latest is not None
        assert (latest.version, sorted(latest.batches)) == (2, ["a", "b", "c"]), place.name
    assert len({len(sizes) for sizes in outcomes}) == 2


def test_without_the_hook_nothing_is_killed(tmp_path: Path) -> None:
    second_chain(tmp_path)
    assert said(chain_of(open_store(tmp_path)), chain_of(open_store(tmp_path)).latest()) == NEW
    for step in STEPS:
        reached(step)


def test_what_a_killed_process_left_unfinished_is_listed_nowhere(tmp_path: Path) -> None:
    place = kill_at({"write:temporary"}, tmp_path, "chain")[0]
    assert list((place / "data").rglob(".*.tmp"))
    store: Store = open_store(place)
    assert all(".tmp" not in path for path in chain_of(store).stored())


def test_every_step_of_the_store_is_killed_here() -> None:
    own = ("write:", "create:", "manifest:", "part:", "failures:", "fold:", "ledger:")  # all others: `torture`
    assert {step for step in STEPS if step.startswith(own)} == STEPS_OF_A_BATCH | STEPS_OF_A_LEDGER
