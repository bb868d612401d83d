"""Erasing that is cut short anywhere: what is there yet has its inputs, and the next erasing finishes it."""

import pytest

from embeddings_dagster.store import Store, erase_batch, steps
from embeddings_dagster_tests.store.helpers import BATCH, DATASET, TABLE

LINE = ("raw_images", "rgb_images", DATASET)


class Killed(BaseException):
    """The process is dead."""


def emptied(store: Store, version: int) -> None:
    """A batch that is empty all down the line, each dataset made from the one above it."""
    above = None
    for dataset in LINE:
        writer = store.chain(dataset, BATCH).writer(TABLE, run_id="run", label={})
        inputs = {f"{above}/{BATCH}": {"version": version, "content": "none"}} if above else {}
        above = dataset
        writer.finish(inputs=inputs, total=0)


@pytest.mark.parametrize(("step", "times"), [("erase:version", 3), ("erase:folder", 3)])
def test_a_kill_while_a_batch_is_erased_leaves_nothing_without_its_input(
    store: Store, step: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied(store, 1)

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("embeddings_dagster.store.steps.os.kill", die)
    monkeypatch.setenv(steps.KILL_AT, f"{step}:1")
    for _ in range(times):
        steps._reached.clear()
        with pytest.raises(Killed):
            erase_batch(store, BATCH)
        assert store.verify() == []
    monkeypatch.delenv(steps.KILL_AT)
    erase_batch(store, BATCH)
    assert [each for dataset in LINE for each in store.batches(dataset)] == []
