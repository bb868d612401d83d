"""Marks: what looks as it did is left alone, unless the ledger changed, something waits, or its turn has come."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from embeddings_dagster.sources import SCAN, Scan
from embeddings_dagster.stages import looks as looks_module
from embeddings_dagster.stages import marks as marks_module
from embeddings_dagster.stages import settling as settling_module
from embeddings_dagster.stages.marks import WHOLE, Marks
from embeddings_dagster.store import Ledger, LedgerBatch, LedgerManifest
from embeddings_dagster.store.versions import Versions
from embeddings_dagster_tests.stages.json_source import NAME, item
from embeddings_dagster_tests.stages.shop_project import Shop, make_shop

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ledger(live: int = 20_000, **states: str) -> LedgerManifest:
    batches = {
        key: LedgerBatch(key, state, 1, live, live, None, None, "parts/x.parquet", live, 1, "0")
        for key, state in states.items()
    }
    return LedgerManifest("s", 1, None, NOON, "run", batches, self_sha256=repr(sorted(states.items())))


def scan(at: datetime, left_alone: frozenset[str] = frozenset(), **marks: str) -> Scan:
    told = {WHOLE if name == "all" else name: mark for name, mark in marks.items()}
    return Scan(SCAN.empty_table(), at, left_alone=left_alone, marks=told)


def known(cache: Path, now: LedgerManifest, at: datetime = NOON) -> dict[str, str]:
    return Marks(cache, "s").recall(now, at)


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks_module, "READ_AGAIN", 1)


@pytest.mark.usefixtures("in_turn")
def test_a_mark_holds_while_the_ledger_has_the_batch_as_it_was(tmp_path: Path) -> None:
    Marks(tmp_path, "s").remember(scan(NOON, a="A", b="B", c="C", d="D"), ledger(a="1", b="2", c="3", d="4"), {"c"})
    assert known(tmp_path, ledger(a="1", b="2", c="3", d="4")) == {"b": "B", "d": "D"}, "a is read in its turn, c waits"
    assert known(tmp_path, ledger(a="1", b="other", d="4")) == {"d": "D"}
    assert known(tmp_path, None) == {}
    assert Marks(tmp_path, "another").recall(ledger(b="2"), NOON) == {}


@pytest.mark.usefixtures("in_turn")
def test_every_batch_is_read_again_in_its_turn(tmp_path: Path) -> None:
    state = ledger(**dict.fromkeys("abcde", "1"))
    every = dict(zip("abcde", "ABCDE", strict=True))
    Marks(tmp_path, "s").remember(scan(NOON, **every), state, ())
    read = []
    for minute in range(1, 11):
        at = NOON + timedelta(minutes=minute)
        marks = Marks(tmp_path, "s")
        alone = frozenset(marks.recall(state, at))
        [turn] = every.keys() - alone
        read.append(turn)
        marks.remember(scan(at, alone, **{turn: every[turn]}), state, ())
    assert "".join(read) == "abcdeabcde"


@pytest.mark.usefixtures("in_turn")
def test_what_cannot_be_read_at_present_is_not_remembered(tmp_path: Path) -> None:
    state = ledger(a="1", b="1", c="1")
    Marks(tmp_path, "s").remember(scan(NOON, a="A", b="B", c="C"), state, ())
    marks = Marks(tmp_path, "s")
    assert marks.recall(state, NOON) == {"b": "B", "c": "C"}
    marks.remember(scan(NOON, frozenset("abc")), state, ())
    assert known(tmp_path, state) == {"c": "C"}, "a was given no mark, and is no candidate for any turn"


def test_a_small_pile_is_always_read(tmp_path: Path) -> None:
    names = [f"b{n:03d}" for n in range(marks_module.READ_AGAIN)]
    state = ledger(live=1, **dict.fromkeys(names, "1"))
    Marks(tmp_path, "s").remember(scan(NOON, all="W", **dict.fromkeys(names, "M")), state, ())
    assert known(tmp_path, state) == {}
    more = ledger(live=1, more="1", **dict.fromkeys(names, "1"))
    Marks(tmp_path, "s").remember(scan(NOON, all="W", more="M", **dict.fromkeys(names, "M")), more, ())
    assert known(tmp_path, more) == {"more": "M"}


def test_the_mark_of_a_whole_source_holds_for_ten_minutes_and_one_ledger(tmp_path: Path) -> None:
    state = ledger(x__000001="1")
    Marks(tmp_path, "s").remember(scan(NOON, all="W"), state, ())
    for minutes, holds in ((0, True), (9, True), (11, False), (-1, False)):
        assert known(tmp_path, state, NOON + timedelta(minutes=minutes)) == ({WHOLE: "W"} if holds else {}), minutes
    assert known(tmp_path, ledger(x__000001="2")) == {}
    Marks(tmp_path, "s").remember(scan(NOON, all="W"), state, {WHOLE, "x__000001"})
    assert known(tmp_path, state) == {}


@pytest.mark.parametrize("damage", [b"", b"PAR1 not parquet PAR1"])
def test_marks_may_be_lost_or_damaged_at_any_time(tmp_path: Path, damage: bytes) -> None:
    state = ledger(a="1")
    Marks(tmp_path, "s").remember(scan(NOON, a="A"), state, ())
    [file] = (tmp_path / "marks").iterdir()
    file.write_bytes(damage)
    assert known(tmp_path, state) == {}
    Marks(tmp_path, "s").remember(scan(NOON, a="A"), state, ())


# ---- with a real source and a real ledger


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    for module in (looks_module, settling_module):
        monkeypatch.setattr(module, "APART", timedelta(0))
    monkeypatch.setattr(marks_module, "READ_AGAIN", 0)
    return make_shop(tmp_path, monkeypatch)


def parsed(shop: Shop, **options: object) -> list[str]:
    """Which batches a look reads."""
    shop.source.parsed.clear()
    shop.discover(**{"full": False, **options})
    return list(shop.source.parsed)


def test_a_batch_is_left_alone_only_when_all_of_it_was_taken(shop: Shop) -> None:
    shop.pile.batch("one", item("a"))
    shop.pile.batch("two", item("b"))
    shop.discover()
    assert parsed(shop) == []
    shop.pile.batch("three", item("c"))
    assert parsed(shop, wait=False) == ["three"]
    assert parsed(shop, wait=False) == ["three"], "it waited for a second look, so nothing was remembered of it"
    assert parsed(shop, wait=False) == []
    assert len(shop.ledger()) == 3


def test_a_run_reads_everything_whatever_is_remembered(shop: Shop) -> None:
    shop.pile.batch("one", item("a"))
    shop.discover()
    assert (parsed(shop, full=True), parsed(shop)) == (["one"], [])
    assert shop.source.known == [None, None, {"shop__one": shop.source.known[2]["shop__one"]}]


def test_a_sample_is_no_reason_to_leave_the_rest_alone(shop: Shop) -> None:
    shop.pile.batch("one", item("a"), item("b"), item("c"))
    assert parsed(shop, sample=1, full=True) == ["one"]
    assert parsed(shop) == ["one"]
    assert len(shop.ledger()) == 3


def test_another_hand_on_the_ledger_undoes_the_mark(shop: Shop) -> None:
    shop.pile.batch("one", item("a"))
    shop.discover()
    assert parsed(shop) == []
    own = shop.store.ledger(NAME)
    base = own.latest()
    rows = own.rows(base, "shop__one")
    place = rows.schema.get_field_index("removed_at")
    gone = rows.set_column(place, rows.schema.field(place), rows["first_seen"])
    own.commit(base, {"shop__one": gone}, run_id="another")
    assert parsed(shop) == ["one"]
    assert shop.ledger() == {("one", "a", 0): True}


def test_a_source_that_is_left_alone_whole_costs_one_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (looks_module, settling_module):
        monkeypatch.setattr(module, "APART", timedelta(0))
    monkeypatch.setattr(marks_module, "SMALL", 1)
    shop = make_shop(tmp_path, monkeypatch, own_batches=False, whole=True)
    shop.pile.batch("one", *(item(f"{n}") for n in range(9)))
    assert shop.discover().new == 9
    manifests, rows = [], []
    read, table = Versions.read, Ledger.rows
    monkeypatch.setattr(Versions, "read", lambda self, number: manifests.append(number) or read(self, number))
    monkeypatch.setattr(Ledger, "rows", lambda self, *which: rows.append(which) or table(self, *which))
    found = shop.discover(full=False)
    assert (found.found, found.left_alone, len(manifests), rows) == (0, 9, 1, [])
    assert len(shop.ledger()) == 9
    shop.pile.batch("one", *(item(f"{n}") for n in range(8)))
    assert shop.discover(full=False).gone == 1
