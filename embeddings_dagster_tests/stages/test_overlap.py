"""How much the neighbours of two fingerprints overlap, measured on real parts, and remembered."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.errors import CorruptFile, StoreError
from embeddings_dagster.ids import Key
from embeddings_dagster.stages import overlap as module
from embeddings_dagster.stages.overlap import Overlap, Space, neighbour_overlap, summary
from embeddings_dagster.store import Store
from embeddings_dagster.store.tables import embeddings

OLD, NEW = Space("embeddings/toy/aaaaaaaaaaaa", 8), Space("embeddings/toy/bbbbbbbbbbbb", 6)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "data", tmp_path / "cache")


def names(first: int, count: int) -> list[str]:
    return [f"p{number:04}" for number in range(first, first + count)]


def points(seed: int, space: Space, pictures: list[str]) -> dict[str, np.ndarray]:
    """Random vectors of norm 1."""
    found = np.random.default_rng(seed).standard_normal((len(pictures), space.dimension)).astype(np.float32)
    return dict(zip(pictures, found / np.linalg.norm(found, axis=1, keepdims=True), strict=True))


def write(store: Store, space: Space, batch: str, vectors: Mapping[str, np.ndarray], region: int = 0) -> None:
    """Bring a batch to exactly these, whose names are their input hashes."""
    table = embeddings(space.dimension)
    writer = store.chain(space.dataset, f"art__{batch}").writer(table, run_id="run", label={"fingerprint": "f"})
    writer.drop(writer.present().keys() - {Key(f"art:{name}", region) for name in vectors})
    for name, vector in vectors.items():
        if Key(f"art:{name}", region) in writer.present():
            continue
        row = {"image_id": f"art:{name}", "region": region, "input_hash": name, "embedding": vector}
        writer.add([{**row, "norm": 1.0, "precision": "fp32", "run_id": "run"}])
    writer.finish(inputs={}, total=len(vectors))


def fill(store: Store, batch: str, pictures: list[str], *, same: bool = False) -> None:
    """A batch in both spaces; `same`: with the same neighbours."""
    old = points(1, OLD, pictures)
    new = {name: vector[: NEW.dimension] for name, vector in old.items()} if same else points(2, NEW, pictures)
    if same:
        old = {name: np.concatenate([vector, [0, 0]]).astype(np.float32) for name, vector in new.items()}
    write(store, OLD, batch, old)
    write(store, NEW, batch, new)


def without_parts(store: Store) -> None:
    for part in Path(store.root).rglob("parts/*.parquet"):
        part.unlink()


def test_the_same_neighbours_overlap_fully(store: Store) -> None:
    fill(store, "1", names(0, 80), same=True)
    assert neighbour_overlap(store, OLD, NEW) == Overlap(1.0, 1.0, queries=80, rows=80, batches=1)


def test_unrelated_spaces_overlap_by_chance(store: Store) -> None:
    fill(store, "1", names(0, 300))
    found = neighbour_overlap(store, OLD, NEW)
    assert found is not None
    assert (found.queries, found.rows) == (200, 300)
    assert found.mean == pytest.approx(10 / 299, abs=0.03)
    assert found.worst_decile == 0.0


def test_only_pictures_that_both_hold_with_the_same_input_are_compared(store: Store) -> None:
    """Of a picture that changed since, one space has the old vector and one the new."""
    write(store, OLD, "1", points(1, OLD, names(0, 100)))
    write(store, NEW, "1", points(2, NEW, names(30, 100)))
    write(store, OLD, "2", points(3, OLD, names(500, 60)))
    found = neighbour_overlap(store, OLD, NEW)
    assert found is not None
    assert (found.rows, found.batches) == (70, 1)


def test_too_few_say_nothing(store: Store) -> None:
    assert neighbour_overlap(store, OLD, NEW) is None
    fill(store, "1", names(0, 49))
    assert neighbour_overlap(store, OLD, NEW) is None
    fill(store, "2", names(49, 1))
    found = neighbour_overlap(store, OLD, NEW)
    assert found is not None
    assert found.rows == 50


def test_an_equal_picture_in_several_batches_counts_once(store: Store) -> None:
    for batch in "12":
        fill(store, batch, names(0, 60))
    found = neighbour_overlap(store, OLD, NEW)
    assert found is not None
    assert (found.rows, found.batches) == (60, 2)


def test_parts_of_pictures_do_not_count(store: Store) -> None:
    for space in (OLD, NEW):
        write(store, space, "1", points(1, space, names(0, 80)), region=1)
    assert neighbour_overlap(store, OLD, NEW) is None


def test_asking_again_reads_no_rows_while_nothing_changed(store: Store) -> None:
    fill(store, "1", names(0, 60))
    before = neighbour_overlap(store, OLD, NEW)
    without_parts(store)
    assert neighbour_overlap(store, OLD, NEW) == before


def test_that_there_are_too_few_is_remembered_too(store: Store) -> None:
    fill(store, "1", names(0, 10))
    assert neighbour_overlap(store, OLD, NEW) is None
    without_parts(store)
    assert neighbour_overlap(store, OLD, NEW) is None


def test_another_state_of_a_batch_is_measured_again(store: Store) -> None:
    fill(store, "1", names(0, 60))
    neighbour_overlap(store, OLD, NEW)
    fill(store, "1", names(0, 70))
    found = neighbour_overlap(store, OLD, NEW)
    assert found is not None
    assert found.rows == 70


def test_a_lost_or_damaged_memory_costs_a_measurement(store: Store) -> None:
    fill(store, "1", names(0, 60))
    before = neighbour_overlap(store, OLD, NEW)
    database = store.cache / "overlap.sqlite"
    for damage in (database.unlink, lambda: database.write_bytes(b"no database" * 100)):
        damage()
        assert neighbour_overlap(store, OLD, NEW) == before
    with sqlite3.connect(database) as connection:
        assert connection.execute("select count(*) from overlaps").fetchone() == (1,)


def test_another_machine_measures_the_same(store: Store, tmp_path: Path) -> None:
    fill(store, "1", names(0, 400))
    other = Store.open(tmp_path / "data", tmp_path / "elsewhere")
    assert neighbour_overlap(other, OLD, NEW) == neighbour_overlap(store, OLD, NEW)


def test_what_is_read_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches first, then rows; the same ones each time, wherever the rest of them lies."""
    monkeypatch.setattr(module, "MOST_BATCHES", 3)
    monkeypatch.setattr(module, "MOST_ROWS", 80)
    for number in range(5):
        fill(store, str(number), names(100 * number, 60))
    found = neighbour_overlap(store, OLD, NEW)
    assert found is not None
    assert (found.rows, found.batches) == (80, 3)
    monkeypatch.setattr(module, "MOST_KEYS", 130)
    found = neighbour_overlap(store, OLD, NEW)
    assert found is not None
    assert (found.rows, found.batches) == (80, 2)


def test_vectors_that_are_long_are_fewer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 4 * OLD.dimension * 55)
    fill(store, "1", names(0, 90))
    found = neighbour_overlap(store, OLD, NEW)
    assert found is not None
    assert found.rows == 55


def test_a_damaged_part_is_an_error(store: Store) -> None:
    fill(store, "1", names(0, 60))
    without_parts(store)
    with pytest.raises(CorruptFile, match=r"parts/"):
        neighbour_overlap(store, OLD, NEW)


def test_vectors_of_another_dimension_are_an_error(store: Store) -> None:
    fill(store, "1", names(0, 60))
    with pytest.raises(StoreError, match="embeddings of dimension 6 where the model has 7"):
        neighbour_overlap(store, OLD, Space(NEW.dataset, 7))


def test_the_worst_tenth_is_the_mean_of_the_least() -> None:
    shares = np.array([0.0, 0.2] + [1.0] * 18)
    assert summary(shares, rows=90, batches=2) == Overlap(0.91, 0.1, queries=20, rows=90, batches=2)
