"""Pages, look-ups, facets and fields of one generation, which nothing changes any more."""

import dataclasses
import sqlite3
import threading
from collections import Counter
from pathlib import Path

import pytest

from embeddings_dagster.catalog import ALL, PARTS, WHOLE, Cursor, Facet, Field, Filter, Snapshot
from embeddings_dagster.errors import BadQuery, CorruptFile
from embeddings_dagster.ids import Key
from embeddings_dagster_tests.catalog.helpers import NOON, ids, make_file, picture, snapshot_of

BRANDS = ["Acme", "ACME", "acme", "Foo", "Bar"]


@pytest.fixture
def shop(tmp_path: Path):
    def record(number: int) -> dict[str, object]:
        brand, tags = BRANDS[number % 5], ["a", "b"][: number % 3]
        return {"title": f"Shirt {number % 7}", "brand": brand, "price": number % 10, "tags": tags}

    pictures = [picture(f"shop:{n:03d}", record(n), panels=["word"] * (n % 2)) for n in range(60)]
    with snapshot_of(tmp_path, *pictures) as snapshot:
        yield snapshot


def test_pages_neither_skip_nor_repeat(shop: Snapshot) -> None:
    for wanted in (Filter(), Filter(text="shirt"), Filter(["brand=acme"]), Filter(text="word"), Filter(text="-word")):
        pages, after = [], None
        while page := shop.find(wanted, limit=7, after=after):
            pages += page
            after = page[-1].cursor
        assert pages == shop.find(wanted, limit=1000)
        assert len(set(ids(pages))) == len(pages) == shop.count(wanted)
        assert sorted(each.key for each in pages) == list(shop.keys(wanted))


def test_a_page_goes_on_from_a_key_that_is_not_there(shop: Snapshot) -> None:
    assert ids(shop.find(limit=2, after=Key("shop:0005", 3))) == ["shop:001", "shop:001/1"]
    assert ids(shop.find(limit=1, after=Cursor("shop:001", 0))) == ["shop:001/1"]
    assert shop.find(after=Key("t", 0)) == []


def test_a_cursor_of_another_query_is_refused(shop: Snapshot) -> None:
    with pytest.raises(BadQuery, match="of another query"):
        shop.find(Filter(text="shirt"), after=Key("shop:001", 0))
    with pytest.raises(BadQuery, match="of another query"):
        shop.find(after=Cursor("shop:001", 0, 1.5))


@pytest.mark.parametrize("limit", [0, -1, 10_001])
def test_a_limit_has_its_limits(shop: Snapshot, limit: int) -> None:
    with pytest.raises(BadQuery, match="1 to 10,000"):
        shop.find(limit=limit)
    with pytest.raises(BadQuery, match="1 to 10,000"):
        shop.facets("brand", limit=limit)


def test_rows_are_looked_up_by_key_in_the_order_asked(shop: Snapshot) -> None:
    keys = [Key("shop:031", 1), Key("shop:002", 0), Key("shop:002", 7), Key("nowhere:1", 0), Key("shop:031", 1)]
    found = shop.rows(keys)
    assert list(found) == keys[:2]
    assert found[keys[0]].text == "word"
    assert found[keys[1]].metadata == {"title": "Shirt 2", "brand": "acme", "price": 2, "tags": ["a", "b"]}
    assert len(shop.rows(shop.keys())) == shop.count() == 90


def test_a_record_says_all_that_is_known(tmp_path: Path) -> None:
    one = picture("book:p1", {"name": "Page", "n": 1}, text="all", panels=["hi"], scraped_at=NOON)
    with snapshot_of(tmp_path, one) as snapshot:
        whole, panel = snapshot.find()
    assert whole.as_dict() == {
        "image_id": "book:p1", "region": 0, "source": "book", "batch": "shop__1", "item_id": "p1", "ordinal": 0,
        "location": "p1.png", "width": 40, "height": 30, "box": None, "scraped_at": NOON, "title": "Page",
        "text": "all", "metadata": {"name": "Page", "n": 1}, "score": None,
    }  # fmt: skip
    assert (panel.region, panel.box, panel.text, panel.title) == (1, (1, 0, 10, 20), "hi", "Page")


@pytest.mark.parametrize("regions", [ALL, WHOLE, PARTS])
@pytest.mark.parametrize("where", [(), ("price<5",), ("price!=",)])
def test_facets_count_the_rows_that_a_filter_leaves(shop: Snapshot, regions: str, where: tuple[str, ...]) -> None:
    wanted = Filter(where, regions=regions)  # type: ignore[arg-type]
    rows = shop.find(wanted, limit=1000)
    brands = Counter(str(each.metadata["brand"]).lower() for each in rows)
    tags = Counter(tag for each in rows for tag in each.metadata["tags"])
    assert {facet.value.lower(): facet.rows for facet in shop.facets("brand", wanted)} == brands
    assert dict(shop.facets("tags", wanted)) == tags
    assert dict(shop.facets("price", wanted)) == Counter(str(each.metadata["price"]) for each in rows)
    assert dict(shop.facets("region", wanted)) == Counter(str(each.region) for each in rows)
    assert shop.facets("source", wanted) == [Facet("shop", len(rows))]


def test_facets_come_most_first_in_the_commonest_spelling(tmp_path: Path) -> None:
    said = ["acme", "ACME", "ACME", "Foo", "bar", "x" * 500]
    with snapshot_of(tmp_path, *(picture(f"s:{n}", {"brand": each}) for n, each in enumerate(said))) as snapshot:
        assert snapshot.facets("Brand") == [Facet("ACME", 3), Facet("bar", 1), Facet("Foo", 1)]
        assert snapshot.facets("brand", limit=1) == [Facet("ACME", 3)]
        assert snapshot.facets("brand", Filter(["brand!=acme"])) == [Facet("bar", 1), Facet("Foo", 1)]
        assert snapshot.facets("scraped_at") == []
        with pytest.raises(BadQuery, match="did you mean 'brand'"):
            snapshot.facets("bran")


def test_fields_are_listed_with_what_they_hold(tmp_path: Path) -> None:
    pictures = (
        picture("s:1", {"name": "One", "price": 1, "when": "2026-01-02", "tags": ["a", "A", 3, "a"]}),
        picture("s:2", {"price": "n/a", "note": "x" * 500}),
    )
    with snapshot_of(tmp_path, *pictures) as snapshot:
        assert snapshot.fields() == [
            Field("name", 0, 0, 1), Field("note", 0, 0, 1), Field("price", 1, 0, 1), Field("tags", 1, 0, 2),
            Field("title", 0, 0, 1), Field("when", 0, 1, 0),
        ]  # fmt: skip


def test_an_empty_catalogue_answers(tmp_path: Path) -> None:
    with snapshot_of(tmp_path) as snapshot:
        assert (snapshot.count(), snapshot.find(), list(snapshot.keys()), snapshot.fields()) == (0, [], [], [])
        assert snapshot.facets("source") == []
        assert snapshot.find(Filter(text="word")) == []


def test_nothing_can_be_written_through_it(shop: Snapshot) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        shop._db.execute("delete from images")


def test_the_file_may_go_while_it_is_read(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path, *(picture(f"s:{number}") for number in range(5000)))
    keys = snapshot.keys()
    next(keys)
    (tmp_path / "catalogue.sqlite").unlink()
    assert len(list(keys)) == 4999
    assert snapshot.count() == 5000
    snapshot.close()


def test_many_threads_read_at_once(shop: Snapshot) -> None:
    wrong: list[object] = []

    def read() -> None:
        for _ in range(20):
            if (shop.count(), len(list(shop.keys())), len(shop.find(Filter(text="shirt"), limit=99))) != (90, 90, 60):
                wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []


def test_a_folder_may_be_called_anything(tmp_path: Path) -> None:
    folder = tmp_path / "100% ?mode=rw&x#y é"
    folder.mkdir()
    with snapshot_of(folder, picture("s:1")) as snapshot:
        assert snapshot.count() == 1


def test_what_sqlite_finds_damaged_is_named_with_its_remedy(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    manifest = make_file(path, (picture(f"s:{number}", {"n": number}) for number in range(2000)))
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=r"c\.sqlite cannot be read .*made anew from raw_images"):
        Snapshot(manifest, path).count()


@pytest.mark.parametrize(
    ("location", "title"),
    [
        ("book/p001.jpg", "p001.jpg"),
        ("p?1#2.jpg", "p?1#2.jpg"),
        ("https://shop.example/photos/pizza.jpg?w=80#x", "pizza.jpg"),
        ("https://shop.example/", None),
    ],
)
def test_a_picture_whose_record_has_no_title_is_called_by_its_file(
    tmp_path: Path, location: str, title: str | None
) -> None:
    page = dataclasses.replace(picture("book:p", {"title": " ", "pages": 3}, panels=["hi"]), location=location)
    with snapshot_of(tmp_path, page, picture("book:q", {"name": "Cover"})) as snapshot:
        assert [record.title for record in snapshot.find()] == [title, title, "Cover"]
        if title:
            assert ids(snapshot.find(Filter(text=title))) == ["book:p"]
        assert [value for value, _ in snapshot.facets("title")] == ["", "Cover"], "no field of the record holds it"
