from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from embeddings_dagster.errors import CommitConflict, StoreError
from embeddings_dagster.store import Ledger, LedgerManifest, Store
from embeddings_dagster.store.tables import LEDGER
from embeddings_dagster_tests.store.helpers import NOON

LATER = NOON + timedelta(hours=1)


def table(*sizes: int, batch: str = "art__0001", **columns: object) -> pa.Table:
    rows = [
        {
            "local_id": f"{number}.png",
            "item_id": str(number),
            "ordinal": 0,
            "batch": batch,
            "location": f"{number}.png",
            "size": size,
            "mtime_ns": 5,
            "first_seen": NOON,
            **columns,
        }
        for number, size in enumerate(sizes)
    ]
    return pa.Table.from_pylist(rows, LEDGER)


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return store.ledger("art")


def commit(ledger: Ledger, rows: pa.Table, **changes: pa.Table) -> LedgerManifest:
    return ledger.commit(ledger.latest(), {"art__0001": rows, **changes}, run_id="run")


def test_what_was_committed_is_read_back(store: Store, ledger: Ledger) -> None:
    assert ledger.latest() is None
    manifest = commit(ledger, table(10, 20))
    assert manifest == ledger.latest() == ledger.get(1)
    assert ledger.rows(manifest, "art__0001").equals(table(10, 20))
    assert ledger.rows(manifest, "unknown").equals(LEDGER.empty_table())
    batch = manifest.batches["art__0001"]
    assert (batch.live, batch.total, batch.rows, batch.since, batch.first_seen) == (2, 2, 2, 1, NOON)
    assert store.sources() == ["art"]


def test_a_look_at_the_ledger_reads_one_manifest(store: Store, ledger: Ledger) -> None:
    manifest = commit(ledger, table(1))
    for name in store.files.names("sources/art/parts"):
        store.files.delete(f"sources/art/parts/{name}")
    assert ledger.latest() == manifest


def test_the_state_moves_with_any_input_and_with_nothing_else(ledger: Ledger) -> None:
    state = commit(ledger, table(10)).batches["art__0001"].source_state
    for column, value in [("etag", "e"), ("mtime_ns", 6), ("record_hash", "r"), ("location", "x"), ("size", 11)]:
        changed = commit(ledger, table(10, **{column: value})).batches["art__0001"]
        assert changed.source_state != state, column
    assert commit(ledger, table(10, first_seen=LATER)).batches["art__0001"].source_state == state


def test_from_a_to_b_to_a_gives_the_old_state_and_a_new_since(ledger: Ledger) -> None:
    a, b, again = (commit(ledger, table(size)).batches["art__0001"] for size in (1, 2, 1))
    assert a.source_state == again.source_state != b.source_state
    assert [each.since for each in (a, b, again)] == [1, 2, 3]


def test_since_stays_where_a_batch_did_not_change(ledger: Ledger) -> None:
    commit(ledger, table(1), art__0002=table(1, batch="art__0002"))
    manifest = commit(ledger, table(2), art__0002=table(1, batch="art__0002", first_seen=LATER))
    assert {key: batch.since for key, batch in manifest.batches.items()} == {"art__0001": 2, "art__0002": 1}


def test_a_ledger_without_news_is_not_written(store: Store, ledger: Ledger) -> None:
    first = commit(ledger, table(1, 2))
    shuffled = table(1, 2).take([1, 0])
    assert commit(ledger, shuffled) == first
    assert ledger.commit(first, {}, run_id="run") is first
    assert ledger.versions.numbers() == [1]
    assert len(store.files.names("sources/art/parts")) == 1


def test_a_removed_image_stays_as_a_tombstone_and_leaves_the_state(ledger: Ledger) -> None:
    without = commit(ledger, table(1)).batches["art__0001"].source_state
    both = table(1, 2)
    removed = both.set_column(
        LEDGER.get_field_index("removed_at"), "removed_at", pa.array([None, LATER], LEDGER.field("removed_at").type)
    )
    assert commit(ledger, both).batches["art__0001"].source_state != without
    manifest = commit(ledger, removed)
    batch = manifest.batches["art__0001"]
    assert (batch.source_state, batch.live, batch.total) == (without, 1, 2)
    assert ledger.rows(manifest, "art__0001").equals(removed)


def test_other_batches_are_carried_over_untouched(ledger: Ledger) -> None:
    first = commit(ledger, table(1), art__0002=table(1, batch="art__0002"))
    second = commit(ledger, table(2))
    assert second.batches["art__0002"] == first.batches["art__0002"]
    assert second.previous is not None
    assert (second.previous.version, second.previous.sha256) == (1, first.self_sha256)


def test_the_time_of_scraping_is_kept_until_told_otherwise(ledger: Ledger) -> None:
    scraped = datetime(2025, 5, 6, 7, 8, 9, 123, tzinfo=UTC)
    first = ledger.commit(None, {"art__0001": table(1)}, run_id="run", scraped_at={"art__0001": scraped})
    second = ledger.commit(first, {"art__0001": table(2)}, run_id="run")
    assert [each.batches["art__0001"].scraped_at for each in (first, second)] == [scraped, scraped]
    third = ledger.commit(second, {"art__0001": table(2)}, run_id="run", scraped_at={"art__0001": LATER})
    assert third.batches["art__0001"].scraped_at == LATER
    assert third.batches["art__0001"].since == 2


def test_of_two_discoveries_one_wins_and_the_other_leaves_nothing(store: Store, ledger: Ledger) -> None:
    base = commit(ledger, table(1))
    commit(ledger, table(2))
    before = store.files.names("sources/art/parts")
    with pytest.raises(CommitConflict, match="ledger of source art: version 2 was committed by another writer first"):
        ledger.commit(base, {"art__0001": table(3)}, run_id="run")
    assert store.files.names("sources/art/parts") == before


def test_a_batch_may_have_no_rows(store: Store, ledger: Ledger) -> None:
    manifest = commit(ledger, LEDGER.empty_table())
    assert ledger.rows(manifest, "art__0001").equals(LEDGER.empty_table())
    assert (manifest.batches["art__0001"].live, manifest.batches["art__0001"].first_seen) == (0, None)
    assert store.verify() == []


def test_rows_that_cannot_be_a_batch_are_refused(ledger: Ledger) -> None:
    twice = pa.concat_tables([table(1), table(2)])
    for rows in (twice, table(1, batch="art__0002")):
        with pytest.raises(StoreError, match="ledger, batch art__0001: rows of another batch, or several rows"):
            commit(ledger, rows)
    assert ledger.latest() is None


def test_the_newest_ledger_is_read_once_as_long_as_its_file_stays(
    store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run of a batch asks for it, and that of ten thousand batches has megabytes."""
    first = commit(ledger, table(10))
    opened, read = [], store.files.read
    monkeypatch.setattr(store.files, "read", lambda path: opened.append(path) or read(path))
    assert [store.ledger("art").latest() for _ in range(3)] == [first] * 3
    assert len(opened) == 1
    second = commit(store.ledger("art"), table(11))
    assert store.ledger("art").latest() == second
    store.files.delete(ledger.versions.path(second.version))
    assert store.ledger("art").latest() == first


def test_a_ledger_that_was_forgotten_and_begun_again_is_read_anew(store: Store, ledger: Ledger) -> None:
    before = commit(ledger, table(10))
    assert store.ledger("art").latest() == before
    store.files.delete_folder("sources/art")
    assert store.ledger("art").latest() is None
    after = commit(store.ledger("art"), table(12))
    assert after.version == before.version
    assert store.ledger("art").latest() == after
