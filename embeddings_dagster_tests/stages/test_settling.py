"""Records and pictures are taken when two looks agree on both; what is being written is neither taken nor gone."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from embeddings_dagster.errors import Stopped
from embeddings_dagster.stages import looks as looks_module
from embeddings_dagster.stages import settling as settling_module
from embeddings_dagster.stages.discover import Discovery
from embeddings_dagster_tests.stages.json_source import NAME, JsonSource, item
from embeddings_dagster_tests.stages.shop_project import Shop, make_shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return make_shop(tmp_path, monkeypatch)


@pytest.fixture
def list_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop whose batches the ledger cuts."""
    return make_shop(tmp_path, monkeypatch, own_batches=False)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look comes soon after the first."""
    for module in (looks_module, settling_module):
        monkeypatch.setattr(module, "APART", timedelta(milliseconds=20))


def tick(shop: Shop, **options: object) -> Discovery:
    """A look without waiting, three seconds after the one before."""
    looks = shop.store.cache / "looks" / f"{NAME}.parquet"
    if looks.exists():
        seen = pq.read_table(looks)
        earlier = pc.subtract(seen["seen_at"], pa.scalar(timedelta(seconds=3)))
        pq.write_table(seen.set_column(3, "seen_at", earlier), looks)
    return shop.discover(wait=False, **options)


class Rewriting(JsonSource):
    """Somebody writes while the second look is waited for: `writes` are done one by one, before each of those looks."""

    def look(self, locations: pa.ChunkedArray) -> pa.Table:
        if self.writes:
            self.writes.pop(0)()
        return super().look(locations)


def rewriting(shop: Shop, *writes: object) -> JsonSource:
    shop.source.__class__ = Rewriting
    shop.source.writes = list(writes)
    return shop.source


def test_an_entry_waits_for_its_record_file(shop: Shop) -> None:
    shop.pile.paint("one", "a.png")
    shop.pile.batch("one", item("a"))
    assert tick(shop).unsettled == 1
    shop.pile.batch("one", item("a"), item("b"))
    assert tick(shop).unsettled == 2, "a's picture is steady, its record was written anew"
    assert tick(shop).new == 2


def test_an_entry_waits_for_its_picture_alone_where_the_record_is_steady(shop: Shop) -> None:
    shop.pile.batch("one", item("a"), item("b"))
    tick(shop)
    shop.pile.paint("one", "a.png")
    assert (tick(shop).new, shop.ledger()) == (1, {("one", "b", 0): True}), "missing twice: it ends as a failure"
    assert tick(shop).new == 1


def test_an_unchanged_entry_does_not_wait_for_a_record_file_that_was_touched(shop: Shop) -> None:
    shop.pile.batch("one", item("a"))
    tick(shop)
    tick(shop)
    shop.pile.batch("one", item("a"))
    assert tick(shop).unchanged == 1


def test_a_url_waits_for_its_record_alone(shop: Shop) -> None:
    looked: list[str] = []

    class Listening(JsonSource):
        def look(self, locations: pa.ChunkedArray) -> pa.Table:
            looked.extend(locations.to_pylist())
            return super().look(locations)

    shop.source.__class__ = Listening
    shop.pile.batch("one", item("a", "https://shop.example/a.png"))
    assert tick(shop).unsettled == 1
    seen = pq.read_table(shop.store.cache / "looks" / f"{NAME}.parquet")
    assert seen["location"].to_pylist() == ["one/batch.json"]
    assert (tick(shop).new, looked) == (1, [])


def test_an_item_without_a_picture_waits_for_its_record_alone(shop: Shop) -> None:
    shop.pile.batch("one", {"id": "a"})
    assert (tick(shop).unsettled, tick(shop).new) == (1, 1)


@pytest.mark.usefixtures("soon")
def test_a_run_reads_again_what_was_written_while_it_waited(shop: Shop) -> None:
    shop.pile.batch("one", item("a"))
    rewriting(shop, lambda: shop.pile.batch("one", item("a"), item("b")))
    found = shop.discover(wait=True)
    assert (found.new, found.unsettled) == (2, 0)
    assert len(shop.source.known) == 2
    assert any("reading them again" in line for line in shop.lines)


@pytest.mark.usefixtures("soon")
def test_a_run_does_not_wait_for_ever_for_who_never_stops_writing(shop: Shop) -> None:
    shop.pile.paint("one", "a.png")
    shop.pile.paint("two", "b.png")
    shop.pile.batch("one", item("a"))
    shop.pile.batch("two", item("b"))
    count = iter(range(9))

    def write() -> None:
        shop.pile.batch("two", item("b", metadata={"n": next(count)}))

    rewriting(shop, *[write] * 9)
    found = shop.discover(wait=True)
    assert (len(shop.source.known), len(shop.source.writes)) == (3, 6)
    assert (found.new, found.unsettled, shop.ledger()) == (1, 1, {("one", "a", 0): True})


@pytest.mark.usefixtures("soon")
def test_a_stop_is_obeyed_between_scans(shop: Shop) -> None:
    shop.pile.batch("one", item("a"))
    stop = shop.context.stop

    def write() -> None:
        shop.pile.batch("one", item("b"))
        stop.set()

    rewriting(shop, write)
    with pytest.raises(Stopped):
        shop.discover(wait=True)
    assert shop.store.ledger(NAME).latest() is None


def test_what_a_file_being_written_no_longer_lists_is_not_gone_yet(shop: Shop) -> None:
    shop.pile.batch("one", item("a"), item("b"))
    shop.pile.batch("two", item("c"), item("d"))
    tick(shop)
    assert tick(shop).new == 4
    shop.pile.batch("one", item("a"))
    assert tick(shop).gone == 0
    shop.pile.batch("one", item("a"), item("b"))
    assert (tick(shop).gone, tick(shop).gone) == (0, 0), "it was half written, no more"
    shop.pile.batch("one", item("a"))
    assert (tick(shop).gone, tick(shop).gone) == (0, 1)
    (shop.pile.root / "two" / "batch.json").unlink()
    assert tick(shop).gone == 2, "a batch that went needs no second look"


def test_a_batch_that_is_being_emptied_is_not_gone_yet(shop: Shop) -> None:
    shop.pile.batch("one", item("a"), item("b"))
    tick(shop)
    assert tick(shop).new == 2
    shop.pile.batch("one")
    assert tick(shop).gone == 0
    shop.pile.batch("one", item("a"), item("b"))
    assert (tick(shop).gone, tick(shop).gone) == (0, 0)
    shop.pile.batch("one")
    assert (tick(shop, allow_removals=True).gone, tick(shop, allow_removals=True).gone) == (0, 2)


def test_in_a_list_nothing_is_gone_while_any_file_of_it_is_written(list_shop: Shop) -> None:
    shop = list_shop
    shop.pile.paint("one", "a.png", "b.png")
    shop.pile.batch("one", item("a"), item("b"))
    shop.pile.batch("two", item("c"))
    tick(shop)
    assert tick(shop).new == 3
    shop.pile.batch("one", item("renamed", "b.png"))
    seen = tick(shop)
    assert (seen.gone, seen.new, seen.moved, seen.unsettled) == (0, 0, 0, 1)
    done = tick(shop)
    assert (done.gone, done.moved, done.new) == (1, 1, 0), "a is gone, b has another name"
    assert shop.ledger() == {
        ("000001", "a", 0): False, ("000001", "b", 0): False, ("000001", "c", 0): True, ("000001", "renamed", 0): True
    }  # fmt: skip


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("own", [True, False])
def test_a_sensor_waits_where_the_source_has_batches_of_its_own(shop: Shop, own: bool) -> None:
    shop.source.own_batches = own
    shop.pile.batch("one", item("a"))
    found = shop.discover(wait=None)
    assert (found.new, found.unsettled) == ((1, 0) if own else (0, 1))
