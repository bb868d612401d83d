"""Discovery of a source that says itself which batch a picture is in."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from embeddings_dagster.errors import RemovalRefused
from embeddings_dagster.stages import looks as looks_module
from embeddings_dagster.stages import settling as settling_module
from embeddings_dagster.stages.discover import survey
from embeddings_dagster.store import Ledger
from embeddings_dagster_tests.stages.json_source import NAME, item
from embeddings_dagster_tests.stages.shop_project import Shop, make_shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    for module in (looks_module, settling_module):
        monkeypatch.setattr(module, "APART", timedelta(0))
    return make_shop(tmp_path, monkeypatch)


@pytest.fixture
def parts_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The batches whose ledger rows are read."""
    read: list[str] = []
    rows = Ledger.rows

    def counted(self: Ledger, manifest: object, batch: str) -> object:
        read.append(batch.removeprefix(f"{NAME}__"))
        return rows(self, manifest, batch)

    monkeypatch.setattr(Ledger, "rows", counted)
    return read


def test_rows_are_where_the_source_says_and_a_picture_may_be_in_several_batches(shop: Shop) -> None:
    shop.pile.batch("one", item("a"), item("b", "b0.png", "b1.png"))
    shop.pile.batch("two", item("b", "b0.png"))
    found = shop.discover()
    assert (found.found, found.new, found.batches_changed) == (4, 4, ("shop__one", "shop__two"))
    assert shop.ledger() == dict.fromkeys([("one", "a", 0), ("one", "b", 0), ("one", "b", 1), ("two", "b", 0)], True)
    assert str(shop.discover()) == "source shop: 4 unchanged"


def test_an_own_batch_has_no_limit(shop: Shop) -> None:
    shop.pile.batch("big", *(item(f"{n}") for n in range(9)))
    shop.discover()
    assert [entry.live for entry in shop.store.ledger(NAME).latest().batches.values()] == [9]


def test_a_batch_that_grows_changes_alone(shop: Shop) -> None:
    shop.pile.batch("one", item("a"))
    shop.pile.batch("two", item("b"))
    shop.discover()
    shop.pile.batch("two", item("b"), item("c"))
    found = shop.discover()
    assert (found.new, found.unchanged, found.batches_changed) == (1, 2, ("shop__two",))


def test_a_record_that_changes_is_a_change_of_its_pictures(shop: Shop) -> None:
    shop.pile.batch("one", item("a", "0.png", "1.png", metadata={"price": 1}), item("b"))
    shop.discover()
    shop.pile.batch("one", item("a", "0.png", "1.png", metadata={"price": 2}), item("b"))
    assert (shop.discover().changed, shop.discover().changed) == (2, 0)


def test_a_picture_that_moves_to_another_batch_is_gone_here_and_new_there(shop: Shop) -> None:
    shop.pile.batch("one", item("a"), item("b"))
    shop.discover()
    shop.pile.batch("one", item("b"))
    shop.pile.batch("two", item("a"))
    found = shop.discover()
    assert (found.new, found.moved, found.gone) == (1, 0, 1)
    assert shop.ledger() == {("one", "a", 0): False, ("one", "b", 0): True, ("two", "a", 0): True}


def test_a_batch_that_goes_leaves_tombstones_and_returns_to_them(shop: Shop) -> None:
    shop.pile.batch("one", item("a"))
    shop.pile.batch("two", item("b"))
    shop.discover()
    (shop.pile.root / "two" / "batch.json").rename(shop.pile.root / "two" / "away.json")
    assert (shop.discover().gone, shop.discover().gone) == (1, 0)
    assert shop.ledger() == {("one", "a", 0): True, ("two", "b", 0): False}
    (shop.pile.root / "two" / "away.json").rename(shop.pile.root / "two" / "batch.json")
    assert shop.discover().returned == 1
    assert all(shop.ledger().values())


def test_when_a_batch_was_scraped_is_in_the_ledger_and_follows_a_later_word(shop: Shop) -> None:
    def scraped() -> list[str]:
        entries = shop.store.ledger(NAME).latest().batches.values()
        return [entry.scraped_at.date().isoformat() for entry in entries]

    shop.pile.batch("one", item("a"), scraped_at="2026-01-01T00:00:00+00:00")
    shop.discover()
    assert scraped() == ["2026-01-01"]
    shop.pile.batch("one", item("a"), scraped_at="2026-03-01T00:00:00+00:00")
    shop.discover()
    assert scraped() == ["2026-03-01"]


def test_an_emptied_batch_whose_date_changes_keeps_its_tombstones(shop: Shop) -> None:
    shop.pile.batch("one", item("a"), scraped_at="2026-01-01T00:00:00+00:00")
    shop.pile.batch("two", item("b"))
    shop.discover()
    for month in ("02", "03"):
        shop.pile.batch("one", scraped_at=f"2026-{month}-01T00:00:00+00:00")
        shop.discover()
        assert shop.ledger() == {("one", "a", 0): False, ("two", "b", 0): True}


def test_only_batches_that_the_scan_speaks_of_are_read(shop: Shop, parts_read: list[str], monkeypatch) -> None:
    monkeypatch.setattr("embeddings_dagster.stages.marks.READ_AGAIN", 0)
    for name in "abcdef":
        shop.pile.batch(name, item(name))
    (shop.pile.root / "f").rename(shop.pile.root.parent / "f")
    shop.discover()
    (shop.pile.root.parent / "f").rename(shop.pile.root / "f")
    shop.pile.batch("a", item("a"), item("more"))
    (shop.pile.root / "b" / "batch.json").unlink()
    parts_read.clear()
    shop.source.parsed.clear()
    found = shop.discover(full=False)
    assert shop.source.parsed == ["a", "f"]
    assert set(parts_read) == {"a", "b"}, "changed and gone; f is new, c to e were left alone"
    assert (found.new, found.gone, found.left_alone) == (2, 1, 3)
    assert "3 left alone" in str(found)
    assert sum(shop.ledger().values()) == 6


def test_emptied_batches_are_never_read_again(shop: Shop, parts_read: list[str]) -> None:
    for name in "ab":
        shop.pile.batch(name, item(name))
    shop.discover()
    (shop.pile.root / "b" / "batch.json").unlink()
    shop.discover()
    parts_read.clear()
    assert shop.discover().unchanged == 1
    assert set(parts_read) == {"a"}


def test_the_guard_counts_what_was_left_alone_as_there(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embeddings_dagster.stages.marks.READ_AGAIN", 0)
    shop.pile.batch("much", *(item(f"m{n}") for n in range(800)))
    shop.pile.batch("some", *(item(f"s{n}") for n in range(150)))
    shop.discover()
    (shop.pile.root / "some" / "batch.json").unlink()
    found = shop.discover(full=False, allow_removals=False)
    assert (found.gone, found.left_alone) == (150, 800), "less than a fifth of all, though of all that was scanned"
    (shop.pile.root / "much" / "batch.json").unlink()
    with pytest.raises(RemovalRefused, match=r"800 of 800 images are no longer there .* shows no picture at all"):
        shop.discover(allow_removals=False)


def test_the_guard_minds_no_picture_that_another_batch_has(shop: Shop) -> None:
    items = [item(f"{n}") for n in range(300)]
    shop.pile.batch("one", *items)
    shop.discover()
    (shop.pile.root / "one" / "batch.json").unlink()
    shop.pile.batch("two", *items)
    assert shop.discover(allow_removals=False).gone == 300


def test_a_sample_takes_a_picture_in_all_of_its_batches(shop: Shop) -> None:
    for name in ("one", "two"):
        shop.pile.batch(name, *(item(f"{n}") for n in range(20)))
    found = shop.discover(sample=5)
    assert (found.new, found.left_out) == (10, 30)
    taken = shop.ledger()
    assert {key for batch, key, _ in taken if batch == "one"} == {key for batch, key, _ in taken if batch == "two"}
    assert shop.discover(sample=5).new == 0


def test_a_survey_reads_all_and_changes_nothing(shop: Shop) -> None:
    shop.pile.batch("one", item("a"))
    found = survey(shop.context, NAME)
    assert (found.plan.new.to_pylist(), list(found.plan.batches)) == (["a"], ["shop__one"])
    assert not os.path.exists(shop.store.root)


def test_a_source_that_takes_to_batches_of_its_own_loses_nothing(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.source.own_batches = False
    shop.pile.batch("one", *(item(f"{n}") for n in range(300)))
    shop.discover()
    assert {batch for batch, _, _ in shop.ledger()} == {f"{n:06d}" for n in range(1, 76)}
    shop.source.own_batches = True
    assert shop.discover(allow_removals=False).new == 300
    assert {batch for (batch, _, _), live in shop.ledger().items() if live} == {"one"}
    shop.source.own_batches = False
    assert shop.discover(allow_removals=False).found == 300
    live = [key for (_, key, _), live in shop.ledger().items() if live]
    assert sorted(live) == sorted(f"{n}" for n in range(300)), "each once"
