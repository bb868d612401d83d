import shutil
import sqlite3
import threading

import numpy as np
import pytest

from embeddings_dagster.ids import Key
from embeddings_dagster.store import Chain, PartLimits, Store, VectorLookup
from embeddings_dagster.store.tables import Table
from embeddings_dagster_tests.store.helpers import DATASET, TABLE, chain_of, commit, row, vector, writer_of

FP12 = "0123456789ab"


@pytest.fixture
def lookup(store: Store) -> VectorLookup:
    return store.vectors("tiny", FP12)


def found(lookup: VectorLookup, *hashes: str) -> set[str]:
    vectors = lookup.find(hashes)
    for input_hash, (each, precision) in vectors.items():
        assert precision == "float"  # as these rows have it
        assert each.dtype == np.float32
        assert np.array_equal(each, vector(input_hash))
    return set(vectors)


def test_vectors_of_all_batches_are_found_by_input_hash(store: Store, lookup: VectorLookup) -> None:
    commit(chain_of(store), "art:a", "art:b", "art:c")
    commit(store.chain(DATASET, "art__0002"), "art:d")
    lookup.sync()
    assert found(lookup, "hash-art:a", "hash-art:c", "hash-art:d", "unknown") == {
        "hash-art:a",
        "hash-art:c",
        "hash-art:d",
    }
    assert found(lookup) == set()


def test_nothing_is_known_before_anything_is_committed(lookup: VectorLookup) -> None:
    lookup.sync()
    assert found(lookup, "hash-art:a") == set()


def test_a_row_that_died_still_lends_its_vector(chain: Chain, lookup: VectorLookup) -> None:
    commit(chain, "art:a", "art:b", "art:c", "art:d", "art:e", "art:f", limits=PartLimits())
    writer = writer_of(chain)
    writer.drop([Key("art:a", 0)])
    assert len(writer.finish(inputs={}, total=5).parts[0].dead) == 1
    lookup.sync()
    assert found(lookup, "hash-art:a") == {"hash-art:a"}


def test_rows_of_incomplete_versions_and_of_folded_parts_are_known(chain: Chain, lookup: VectorLookup) -> None:
    commit(chain, "art:a", "art:b", "art:c", limits=PartLimits())
    writer = writer_of(chain)
    writer.drop([Key("art:a", 0)])
    writer.finish(inputs={}, total=2)
    writer_of(chain, PartLimits(images=1)).add([row("art:d")])
    lookup.sync()
    assert found(lookup, "hash-art:a", "hash-art:d") == {"hash-art:a", "hash-art:d"}


def test_vectors_of_another_fingerprint_are_not_found(store: Store) -> None:
    commit(chain_of(store), "art:a")
    other = store.vectors("tiny", "ba9876543210")
    other.sync()
    assert found(other, "hash-art:a") == set()


def test_a_sync_reads_only_what_is_new(
    store: Store, chain: Chain, lookup: VectorLookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(chain, "art:a", "art:b")
    lookup.sync()
    before, opened, open_file = set(chain.stored()), [], store.files.opened
    commit(chain, "art:c")
    monkeypatch.setattr(store.files, "opened", lambda path: opened.append(path) or open_file(path))
    lookup.sync()
    lookup.sync()
    assert len(opened) == 1
    assert not before & set(opened)
    assert found(lookup, "hash-art:a", "hash-art:c") == {"hash-art:a", "hash-art:c"}


def test_a_process_lists_the_batches_now_and_then_and_knows_what_it_committed_itself(
    store: Store, lookup: VectorLookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of ten thousand batches that listed them all for each would be quadratic."""
    listings, list_all = [], store.files.newest
    monkeypatch.setattr(store.files, "newest", lambda *asked: listings.append(asked) or list_all(*asked))
    lookup.sync(every=3600)
    commit(store.chain(DATASET, "art__0001"), "art:a")
    commit(store.chain(DATASET, "art__0002"), "art:b")
    lookup.sync_batch("art__0002")
    again = store.vectors("tiny", FP12)
    again.sync(every=3600)
    assert len(listings) == 1
    assert found(again, "hash-art:a", "hash-art:b") == {"hash-art:b"}
    again.sync()
    assert len(listings) == 2
    assert found(again, "hash-art:a") == {"hash-art:a"}


def test_a_listing_counts_for_the_database_it_was_made_for(store: Store, lookup: VectorLookup) -> None:
    commit(chain_of(store), "art:a")
    lookup.sync(every=3600)
    (database,) = (store.cache / "vectors").iterdir()
    database.unlink()
    lookup.sync(every=3600)
    assert found(lookup, "hash-art:a") == {"hash-art:a"}


def test_another_process_lists_for_itself(store: Store, lookup: VectorLookup) -> None:
    lookup.sync(every=3600)
    commit(chain_of(store), "art:a")
    another = VectorLookup(store, DATASET, store.cache / "vectors" / f"tiny-{FP12}.sqlite", {})
    another.sync(every=3600)
    assert found(another, "hash-art:a") == {"hash-art:a"}


def test_a_batch_that_was_erased_and_made_again_is_taken_in(store: Store, lookup: VectorLookup) -> None:
    commit(chain_of(store), "art:a")
    commit(chain_of(store), "art:b")
    lookup.sync()
    store.files.delete_folder(chain_of(store).folder)
    commit(chain_of(store), "art:c")
    lookup.sync()
    assert found(lookup, "hash-art:a", "hash-art:c") == {"hash-art:c"}


def test_a_part_that_is_gone_or_damaged_is_not_found_and_another_copy_is(store: Store, lookup: VectorLookup) -> None:
    manifests = [commit(store.chain(DATASET, batch), "art:a", "art:b") for batch in ("art__0001", "art__0002")]
    lookup.sync()
    newest = store.chain(DATASET, "art__0002")
    store.files.delete(newest.files(manifests[1])[0])
    assert found(lookup, "hash-art:a") == {"hash-art:a"}
    with store.files.writing(chain_of(store).files(manifests[0])[0]) as handle:
        handle.write(b"damaged")
    assert found(lookup, "hash-art:a") == set()


def test_a_part_that_is_gone_before_it_was_seen_is_skipped(chain: Chain, lookup: VectorLookup) -> None:
    manifest = commit(chain, "art:a", "art:b", "art:c")
    chain.store_files.delete(chain.files(manifest)[0])
    lookup.sync()
    assert found(lookup, "hash-art:a", "hash-art:c") == {"hash-art:c"}


@pytest.mark.parametrize("damage", ["deleted", "garbage", "folder gone"])
def test_the_cache_may_be_lost_at_any_time(store: Store, chain: Chain, lookup: VectorLookup, damage: str) -> None:
    commit(chain, "art:a")
    lookup.sync()
    (database,) = (store.cache / "vectors").iterdir()
    if damage == "deleted":
        database.unlink()
    elif damage == "garbage":
        database.write_bytes(b"garbage" * 1000)
    else:
        shutil.rmtree(store.cache)
    assert found(lookup, "hash-art:a") == set()
    lookup.sync()
    assert found(lookup, "hash-art:a") == {"hash-art:a"}


def test_it_may_miss_a_vector_and_never_returns_a_wrong_one(store: Store, chain: Chain, lookup: VectorLookup) -> None:
    commit(chain, "art:a", "art:b", limits=PartLimits())
    lookup.sync()
    (database,) = (store.cache / "vectors").iterdir()
    with sqlite3.connect(database) as connection:
        connection.execute("update vectors set row = 1 - row where input_hash = 'hash-art:a'")
    connection.close()
    assert found(lookup, "hash-art:a", "hash-art:b") == {"hash-art:b"}


def test_many_hashes_and_many_row_groups(chain: Chain, lookup: VectorLookup) -> None:
    names = [f"art:{number}" for number in range(600)]
    small = Table(TABLE.name, TABLE.schema, TABLE.identity, row_group_bytes=2000)
    writer = chain.writer(small, run_id="run", label={})
    for name in names:
        writer.add([row(name)])
    writer.finish(inputs={}, total=600)
    lookup.sync()
    assert len(found(lookup, *(f"hash-{name}" for name in names))) == 600


def test_two_may_sync_at_once(store: Store) -> None:
    for batch in ("art__0001", "art__0002"):
        commit(store.chain(DATASET, batch), "art:a", "art:b")
    threads = [threading.Thread(target=lambda: store.vectors("tiny", FP12).sync()) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with sqlite3.connect(store.cache / f"vectors/tiny-{FP12}.sqlite") as connection:
        assert connection.execute("select count(*) from vectors").fetchone() == (4,)
    connection.close()
    assert found(store.vectors("tiny", FP12), "hash-art:a") == {"hash-art:a"}


def test_a_picture_that_is_in_every_batch_is_remembered_in_a_few_places(store: Store, lookup: VectorLookup) -> None:
    """Else the first run of ten thousand batches that share a picture would be quadratic."""
    manifests = [commit(store.chain(DATASET, f"art__{number:04}"), "art:same") for number in range(9)]
    lookup.sync()
    (database,) = (store.cache / "vectors").iterdir()
    with sqlite3.connect(database) as connection:
        assert connection.execute("select count(*) from vectors").fetchone() == (4,)
    connection.close()
    for number in range(4):
        store.files.delete(store.chain(DATASET, f"art__{number:04}").files(manifests[number])[0])
    assert found(lookup, "hash-art:same") == set()
    commit(store.chain(DATASET, "art__0009"), "art:same")
    lookup.sync()
    assert found(lookup, "hash-art:same") == {"hash-art:same"}
