import pyarrow as pa
import pytest

from embeddings_dagster.errors import MissingFile, StoreError
from embeddings_dagster.ids import Key
from embeddings_dagster.store import Chain, PartLimits, Store
from embeddings_dagster.store.tables import RAW, Table
from embeddings_dagster_tests.store.helpers import TABLE, commit, failure, row, writer_of


def test_an_unknown_batch_has_no_version(store: Store, chain: Chain) -> None:
    assert chain.head() is chain.latest() is None
    assert store.batches(chain.dataset) == store.datasets() == store.sources() == []
    with pytest.raises(MissingFile, match="batch art__0001 has no version 1"):
        chain.get(1)


@pytest.mark.parametrize("name", ["..", ".", "", "a b", "a/b", "ä", "a\n"])
def test_a_name_that_is_no_name_is_refused(store: Store, name: str) -> None:
    for make in (lambda: store.chain("rgb_images", name), lambda: store.ledger(name), lambda: store.vectors(name, "f")):
        with pytest.raises(ValueError, match="cannot be part of a path in the store"):
            make()


def test_a_reader_keeps_the_version_it_resolved(chain: Chain) -> None:
    pinned = commit(chain, "art:a", "art:b")
    before = chain.rows(pinned)
    writer = writer_of(chain, PartLimits(images=1))
    writer.drop([Key("art:a", 0)])
    for number in range(12):
        writer.add([row(f"art:{number}")])
        assert chain.rows(pinned).equals(before)
    writer.finish(inputs={}, total=13)
    assert chain.rows(pinned).equals(before)


def test_rows_come_with_the_asked_columns_in_the_asked_order(chain: Chain) -> None:
    manifest = commit(chain, "art:a", "art:b", "art:c")
    assert chain.rows(manifest, ["norm", "image_id"]).to_pydict() == {
        "norm": [1.0] * 3,
        "image_id": ["art:a", "art:b", "art:c"],
    }
    assert chain.rows(manifest).schema.equals(TABLE.schema)


def test_a_column_that_does_not_exist_is_named(chain: Chain) -> None:
    manifest = commit(chain, "art:a")
    with pytest.raises(StoreError, match="batch art__0001 has no column colour"):
        chain.rows(manifest, ["image_id", "colour"])


def test_a_scan_with_keys_gives_those_rows_and_reads_no_other_row_group(chain: Chain) -> None:
    small = Table(TABLE.name, TABLE.schema, TABLE.identity, row_group_bytes=200)
    writer = chain.writer(small, run_id="run", label={})
    for number in range(12):
        writer.add([row(f"art:{number}")])
    writer.drop([Key("art:3", 0)])
    manifest = writer.finish(inputs={}, total=11)
    wanted = {Key("art:3", 0), Key("art:4", 0), Key("art:9", 0), Key("art:unknown", 0)}
    batches = list(chain.scan(manifest, ["image_id"], wanted))
    assert [batch.column("image_id").to_pylist() for batch in batches] == [["art:4"], ["art:9"]]
    assert list(chain.scan(manifest, ["image_id"], set())) == []


def test_a_scan_comes_in_row_groups(chain: Chain) -> None:
    small = Table(TABLE.name, TABLE.schema, TABLE.identity, row_group_bytes=1)
    writer = chain.writer(small, run_id="run", label={})
    for number in range(3):
        writer.add([row(f"art:{number}")])
    manifest = writer.finish(inputs={}, total=3)
    assert [len(batch) for batch in chain.scan(manifest)] == [1, 1, 1]


def test_a_column_that_was_added_later_is_null_in_older_rows(store: Store) -> None:
    chain = store.chain("raw_images", "art__0001")
    wider = Table(RAW.name, RAW.schema.append(pa.field("price", pa.float64())), (*RAW.identity, "price"))
    for table, name, extra in ((RAW, "art:a", {}), (wider, "art:b", {"price": 3.0})):
        writer = chain.writer(table, run_id="run", label={})
        writer.add([{"image_id": name, "input_hash": "h", **extra}])
        manifest = writer.finish(inputs={}, total=len(writer.present()) + 1)
    assert chain.rows(manifest, ["image_id", "price"]).to_pylist() == [
        {"image_id": "art:a", "price": None},
        {"image_id": "art:b", "price": 3.0},
    ]


def test_the_files_of_a_version_and_those_of_none_can_be_told(store: Store, chain: Chain) -> None:
    first = commit(chain, *(f"art:{number}" for number in range(17)), failures=(failure("art:x"),))
    assert first.failures is not None
    assert [store.files.stat(path) is not None for path in chain.files(first)] == [True]
    assert chain.referenced(first) == {
        *chain.files(first),
        chain.path(first.failures.file),
        chain.versions.path(first.version),
    }
    assert chain.referenced(first) < set(chain.stored())
    every = set().union(*(chain.referenced(chain.get(version)) for version in chain.versions.numbers()))
    assert every == set(chain.stored())
    with store.files.writing(chain.path("parts/abandoned.parquet")):
        pass
    assert set(chain.stored()) - every == {chain.path("parts/abandoned.parquet")}


def test_a_lock_keeps_another_process_waiting(store: Store) -> None:
    import filelock

    with store.lock("rgb_images/art__0001"):
        other = Store.open(store.root, store.cache)
        with pytest.raises(filelock.Timeout), other.lock("rgb_images/art__0001", timeout=0.05):
            pass
        with other.lock("rgb_images/art__0002", timeout=0.05):
            pass
