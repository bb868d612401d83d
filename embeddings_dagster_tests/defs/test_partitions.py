import dagster as dg
import pytest

from embeddings_dagster.defs.partitions import CHUNK, add_keys, checked_keys, chunks, drop_keys, known_keys


def test_keys_keep_their_order_and_are_unique() -> None:
    assert checked_keys(["b__2", "a__1", "b__2"]) == ["b__2", "a__1"]


@pytest.mark.parametrize(
    "key", ["pics", "pics__", "__1", "pics__a...b", "pics__a/b", "pics__a b", "Pics__1", "pics__ä"]
)
def test_what_is_no_batch_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="is not a batch key"):
        checked_keys(["pics__1", key])


def test_nothing_is_added_when_one_key_is_refused(instance: dg.DagsterInstance) -> None:
    with pytest.raises(ValueError, match="is not a batch key"):
        add_keys(instance, ["pics__1", "pics__a...b"])
    assert known_keys(instance) == set()


def test_only_missing_keys_are_added_and_dropped_ones_go(instance: dg.DagsterInstance) -> None:
    assert add_keys(instance, ["pics__1", "pics__2"]) == ["pics__1", "pics__2"]
    assert add_keys(instance, ["pics__2", "pics__3"]) == ["pics__3"]
    drop_keys(instance, ["pics__1"])
    assert known_keys(instance) == {"pics__2", "pics__3"}


def test_more_keys_than_sqlite_takes_at_once(instance: dg.DagsterInstance) -> None:
    keys = [f"pics__{number:06}" for number in range(2 * CHUNK + 1)]
    assert [len(chunk) for chunk in chunks(keys)] == [CHUNK, CHUNK, 1]
    add_keys(instance, keys)
    assert len(known_keys(instance)) == len(keys)
