"""The promises of the plan, one by one."""

import re
from datetime import timedelta

import pyarrow as pa
import pytest

from embeddings_dagster.errors import RemovalRefused
from embeddings_dagster.settings import RemovalSettings
from embeddings_dagster.sources import SCAN
from embeddings_dagster.stages.ledger_compare import compare
from embeddings_dagster.stages.ledger_plan import LedgerPlan, plan_ledger, refuse_implausible_removal
from embeddings_dagster.store.tables import LEDGER
from embeddings_dagster_tests.stages.ledger_book import NOON, Book, Facts, ids_of, numbered, scan_of


def test_new_pictures_fill_the_last_batch_then_new_ones() -> None:
    book = Book()
    book.apply(numbered(6))
    assert list(book.batches) == ["photos__000001", "photos__000002"]
    plan = book.apply(numbered(13))
    assert sorted(plan.batches) == ["photos__000002", "photos__000003", "photos__000004"]
    assert [len(table) for table in book.batches.values()] == [4, 4, 4, 1]
    assert book.live()["0000.png"] == "1"
    assert book.live()["0012.png"] == "4"


def test_an_unchanged_source_changes_nothing() -> None:
    book = Book()
    book.apply(numbered(9))
    plan = book.apply(numbered(9))
    assert plan.batches == {}
    assert ids_of(plan) == {}
    assert plan.unchanged == plan.found == plan.live_before == 9


def test_an_empty_source_and_an_empty_ledger_are_no_plan() -> None:
    assert ids_of(Book().plan({})) == {}


def test_a_changed_file_is_updated_in_its_batch_alone() -> None:
    book = Book()
    book.apply(numbered(9))
    plan = book.apply({**numbered(9), "0005.png": (7, 7)})
    assert ids_of(plan) == {"changed": ["0005.png"]}
    assert list(plan.batches) == ["photos__000002"]
    row = plan.batches["photos__000002"].to_pylist()[1]
    assert (row["local_id"], row["size"], row["mtime_ns"]) == ("0005.png", 7, 7)
    assert row["first_seen"] == NOON + timedelta(minutes=1)


def test_a_file_that_can_no_longer_be_looked_at_is_a_change_not_a_removal() -> None:
    book = Book()
    book.apply(numbered(2))
    assert ids_of(book.apply({**numbered(2), "0001.png": (None, None)})) == {"changed": ["0001.png"]}
    assert ids_of(book.apply({**numbered(2), "0001.png": (None, None)})) == {}


def test_what_is_gone_leaves_a_tombstone_and_returns_to_its_place() -> None:
    book = Book()
    book.apply(numbered(9))
    without = {name: facts for name, facts in numbered(9).items() if name != "0001.png"}
    assert ids_of(book.apply(without)) == {"gone": ["0001.png"]}
    assert book.places()["0001.png"] == ("1", False)
    assert ids_of(book.apply(without)) == {}
    assert ids_of(book.apply({**without, "0001.png": (5, 5)})) == {"returned": ["0001.png"]}
    assert book.places()["0001.png"] == ("1", True)


def test_a_place_is_never_given_away() -> None:
    book = Book()
    book.apply(numbered(4))
    book.apply(numbered(2, start=2))
    assert ids_of(book.apply({**numbered(2, start=2), "x.png": (1, 1)})) == {"new": ["x.png"]}
    assert book.live()["x.png"] == "2"


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_another_limit_moves_nothing(limit: int) -> None:
    book = Book()
    book.apply(numbered(10))
    before = book.live()
    book.batch_images = limit
    book.apply(numbered(25))
    assert {name: batch for name, batch in book.live().items() if name in before} == before
    assert max(len(t) for b, t in book.batches.items() if b > "photos__000003") <= limit if limit < 100 else True
    assert book.live()["0010.png"] == ("3" if limit > 2 else "4")


def test_a_renamed_folder_is_no_removal() -> None:
    book = Book(batch_images=3)
    old = {f"old/{name}": facts for name, facts in numbered(8).items()}
    book.apply(old)
    before = book.live()
    plan = book.apply({name.replace("old/", "new/deep/"): facts for name, facts in old.items()})
    assert list(ids_of(plan)) == ["moved"]
    assert book.live() == {name.replace("old/", "new/deep/"): batch for name, batch in before.items()}
    assert all(not live for name, (_, live) in book.places().items() if name.startswith("old/"))


def test_a_moved_picture_keeps_when_it_was_first_seen() -> None:
    book = Book()
    book.apply({"a.png": (1, 1)})
    first = book.table.to_pylist()[0]["first_seen"]
    book.apply({"b/a.png": (1, 1)})
    assert {row["first_seen"] for row in book.table.to_pylist()} == {first}


def test_a_renamed_file_is_recognised_where_size_and_mtime_are_unique() -> None:
    book = Book()
    book.apply({"a.png": (1, 1), "b.png": (2, 2)})
    assert ids_of(book.apply({"c.png": (1, 1), "b.png": (2, 2)})) == {"moved": ["c.png"]}


@pytest.mark.parametrize(
    "after", [{"c.png": (1, 1), "d.png": (1, 1)}, {"c.png": (1, 1)}], ids=["two of each", "one of two"]
)
def test_renames_that_could_be_either_are_not_guessed(after: dict[str, Facts]) -> None:
    book = Book()
    book.apply({"a.png": (1, 1), "b.png": (1, 1)})
    assert ids_of(book.apply(after)) == {"new": sorted(after), "gone": ["a.png", "b.png"]}


def test_equal_files_of_one_name_are_paired_in_order() -> None:
    book = Book(batch_images=1)
    book.apply({"1/a.png": (1, 1), "2/a.png": (1, 1), "3/a.png": (1, 1)})
    plan = book.apply({"x/a.png": (1, 1), "y/a.png": (1, 1)})
    assert ids_of(plan) == {"moved": ["x/a.png", "y/a.png"], "gone": ["3/a.png"]}
    assert book.live() == {"x/a.png": "1", "y/a.png": "2"}


def test_what_cannot_be_looked_at_is_never_taken_for_a_move() -> None:
    book = Book()
    book.apply({"a.png": (None, None)})
    assert ids_of(book.apply({"b/a.png": (None, None)})) == {"new": ["b/a.png"], "gone": ["a.png"]}


def test_unsettled_files_leave_the_ledger_as_it_is() -> None:
    book = Book()
    book.apply(numbered(3))
    book.apply(numbered(2))
    waiting = {"0001.png", "0002.png", "new.png"}
    plan = book.apply({**numbered(3), "0001.png": (9, 9), "new.png": (8, 8)}, waiting)
    assert ids_of(plan) == {"unsettled": sorted(waiting)}
    assert plan.batches == {}


def test_the_old_name_of_a_move_stays_until_the_new_one_has_settled() -> None:
    book = Book()
    book.apply({"a.png": (1, 1)})
    assert ids_of(book.apply({"b/a.png": (1, 1)}, {"b/a.png"})) == {"unsettled": ["b/a.png"]}
    assert book.live() == {"a.png": "1"}
    assert ids_of(book.apply({"b/a.png": (1, 1)})) == {"moved": ["b/a.png"]}


def test_a_row_that_another_process_added_since_the_scan_began_is_not_gone() -> None:
    book = Book()
    book.apply({"late.png": (1, 1)})
    book.now -= timedelta(minutes=5)
    assert ids_of(book.plan({})) == {}
    book.now += timedelta(minutes=5)
    assert ids_of(book.plan({})) == {"gone": ["late.png"]}


def test_a_sample_is_stable_and_makes_nothing_gone() -> None:
    book = Book(batch_images=100)
    first = ids_of(book.apply(numbered(50), sample=10))
    assert len(first["new"]) == 10
    assert len(first["left_out"]) == 40
    assert set(ids_of(book.apply(numbered(50), sample=10))) == {"left_out"}
    assert len(ids_of(book.apply(numbered(50), sample=15))["new"]) == 5
    assert "gone" not in ids_of(book.apply(numbered(50), sample=1))
    assert len(book.live()) == 15
    assert len(ids_of(book.apply(numbered(50)))["new"]) == 35


def test_an_items_pictures_are_told_apart_by_ordinal() -> None:
    rows = [
        {"local_id": "item", "item_id": "item", "ordinal": n, "location": f"{n}.jpg", "size": n, "mtime_ns": n}
        for n in range(3)
    ]
    scan = pa.Table.from_pylist(rows, schema=SCAN)
    options = {"source": "photos", "batch_images": 9, "scanned_at": NOON}
    ledger = plan_ledger(LEDGER.empty_table(), scan, **options).batches["photos__000001"]
    assert ledger["ordinal"].to_pylist() == [0, 1, 2]
    assert ids_of(plan_ledger(ledger, scan.slice(0, 2), **options)) == {"gone": ["item"]}
    assert ids_of(plan_ledger(ledger, scan.slice(0, 1), **options)) == {"gone": ["item", "item"]}
    assert compare(ledger, scan).arriving.tolist() == [False] * 3


def test_columns_of_other_sources_count_as_changes() -> None:
    scan = scan_of({"a": (1, None)})
    ledger = plan_ledger(LEDGER.empty_table(), scan, source="s", batch_images=9, scanned_at=NOON).batches["s__000001"]
    for name in ("etag", "record_hash", "item_id", "location"):
        place = SCAN.get_field_index(name)
        other = scan.set_column(place, SCAN.field(name), pa.array(["other"]))
        assert compare(ledger, other).arriving.tolist() == [True], name


# ---- the guard


def removal(count: int, of: int) -> LedgerPlan:
    book = Book(batch_images=1000)
    book.apply(numbered(of))
    return book.plan(numbered(of - count, start=count))


@pytest.mark.parametrize(("count", "of"), [(100, 110), (101, 505), (3, 4), (0, 5)])
def test_plausible_removals_pass(count: int, of: int) -> None:
    refuse_implausible_removal(removal(count, of), RemovalSettings())


def test_a_removal_beyond_both_limits_is_refused() -> None:
    says = (
        "source 'photos': 101 of 504 images are no longer there "
        "(0000.png, 0001.png, 0002.png, 0003.png, 0004.png, …): more than removals.images = 100 and "
        "removals.fraction = 0.2 allow. Nothing was removed. Check that the disk is mounted; if they are meant to go, "
        "run again with --allow-removals."
    )
    with pytest.raises(RemovalRefused, match=f"^{re.escape(says)}$"):
        refuse_implausible_removal(removal(101, 504), RemovalSettings())


def test_a_source_that_shows_nothing_at_all_is_refused_however_small_it_was() -> None:
    with pytest.raises(RemovalRefused, match=r"2 of 2 images .* the source shows no picture at all"):
        refuse_implausible_removal(removal(2, 2), RemovalSettings())


def test_moved_pictures_are_no_removal() -> None:
    book = Book(batch_images=1000)
    book.apply(numbered(500))
    moved = book.plan({f"elsewhere/{name}": facts for name, facts in numbered(500).items()})
    refuse_implausible_removal(moved, RemovalSettings())
    assert len(moved.moved) == 500
