"""The catalog source as discovery and raw_images use it."""

import os
import threading
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from embeddings_dagster.errors import BadRecord, NotDownloaded, SourceError
from embeddings_dagster.settings import settings_from
from embeddings_dagster.settings_yaml import parse_yaml
from embeddings_dagster.sources import SCAN, Picture, open_source
from embeddings_dagster.sources.catalog import CatalogSource
from embeddings_dagster.sources.catalog.read import RecentCatalogues
from embeddings_dagster.sources.catalog.rows import CatalogRules
from embeddings_dagster_tests.shop import Versioned, open_shop, tiny_png
from embeddings_dagster_tests.sources.catalogues import HEADER, WEB, listed, records, source, told

TEXT = f"{HEADER}1,One,5,{WEB}1.jpg\n2,Two,6,{WEB}2.jpg\n"


def test_an_entry_says_all_that_is_known_without_fetching(tmp_path: Path) -> None:
    opened = source(tmp_path, TEXT, "my #1.csv")
    scan = opened.scan()
    assert scan.entries.schema == SCAN
    first = records(opened)["1", 0]
    assert first.metadata == {"title": "One", "price": 5.0}
    assert scan.entries.to_pylist()[0] == {
        "local_id": "1",
        "item_id": "1",
        "ordinal": 0,
        "batch": None,
        "location": f"{WEB}1.jpg",
        "size": None,
        "mtime_ns": None,
        "etag": None,
        "record_hash": first.digest(),
        "record_file": "my %231.csv",
    }
    stat = os.stat(tmp_path / "my #1.csv")
    assert scan.files.to_pylist() == [{"location": "my %231.csv", "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}]
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").glob("*.jpg"))


def test_entries_are_sorted_by_id_and_place(tmp_path: Path) -> None:
    scan = source(tmp_path, f"id,image_url\nb,{WEB}1 {WEB}2\na,{WEB}3\nB,{WEB}4\n10,{WEB}5\n9,{WEB}6\n").scan()
    assert [each[:2] for each in listed(scan)] == [("10", 0), ("9", 0), ("B", 0), ("a", 0), ("b", 0), ("b", 1)]


# ---- looks, marks and records


def test_a_look_is_at_the_catalogue_and_never_at_a_picture(tmp_path: Path) -> None:
    opened = source(tmp_path, TEXT)
    asked = pa.chunked_array([[f"{WEB}1.jpg", "products.csv"], ["products.csv#17", "/etc/passwd"]])
    stat = os.stat(tmp_path / "products.csv")
    assert opened.look(asked).to_pydict() == {
        "location": asked.to_pylist(),
        "size": [None, stat.st_size, None, None],
        "mtime_ns": [None, stat.st_mtime_ns, None, None],
    }
    (tmp_path / "products.csv").unlink()
    assert opened.look(asked)["size"].to_pylist() == [None] * 4
    assert len(opened.look(pa.chunked_array([], pa.string()))) == 0


def test_a_catalogue_that_looks_as_its_mark_says_is_left_alone(tmp_path: Path) -> None:
    opened = source(tmp_path, TEXT)
    marks = opened.scan().marks
    again = opened.scan(marks)
    assert again.left_alone == {""}
    assert len(again.entries) == len(again.files) == len(again.marks) == 0
    assert opened.scan({}).left_alone == opened.scan({"": "other"}).left_alone == frozenset()


def test_a_mark_holds_for_one_state_of_the_file_and_one_way_to_read_it(tmp_path: Path) -> None:
    opened = source(tmp_path, TEXT)
    marks = opened.scan().marks
    assert not source(tmp_path, TEXT, last=True).scan(marks).left_alone
    assert not source(tmp_path, TEXT, prefix="p").scan(marks).left_alone
    os.utime(tmp_path / "products.csv", ns=(1, 1))
    assert not opened.scan(marks).left_alone


def test_records_are_those_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    opened = source(tmp_path, TEXT)
    entries = opened.scan().entries
    (tmp_path / "products.csv").write_text(f"{HEADER}2,Deux,6,{WEB}2.jpg\n3,Trois,7,{WEB}3.jpg\n")
    found = opened.records("shop__000001", entries)
    assert {key: record.metadata["title"] for key, record in found.items()} == {("2", 0): "Deux"}
    (tmp_path / "products.csv").unlink()
    with pytest.raises(SourceError, match=r"does not exist; mount or create it, or correct sources\.shop\.path"):
        opened.records("shop__000001", entries)


def test_records_are_given_for_what_is_asked_alone(tmp_path: Path) -> None:
    opened = source(tmp_path, f"id,title,image_url\n1,One,{WEB}1 {WEB}2\n2,Two,{WEB}3\n")
    entries = opened.scan().entries
    assert set(opened.records("", entries.slice(1, 1))) == {("1", 1)}
    assert opened.records("", entries.slice(0, 0)) == {}


def test_a_record_does_not_depend_on_where_its_row_stands(tmp_path: Path) -> None:
    rows = [f"1,One,5,{WEB}1.jpg\n", "2,Two,6,\n", "3,Three,7,ftp://x/y.jpg\n"]
    before = source(tmp_path, HEADER + "".join(rows)).scan().entries
    columns = "title,image_url,product_id,price\n"
    after = f"0,,{WEB}0.jpg,0\n"
    moved = "".join(",".join(row.strip().split(",")[at] for at in (1, 3, 0, 2)) + "\n" for row in reversed(rows))
    again = source(tmp_path, columns + after.replace("0,,", "Zero,").replace(".jpg,0", ".jpg,0,0") + moved).scan()
    assert again.entries.slice(1).to_pylist() == before.to_pylist()


# ---- pictures


def test_pictures_are_fetched_once_and_found_in_the_cache(tmp_path: Path) -> None:
    with open_shop() as shop:
        text = f"id,image_url\na/1,{shop.url('/many/1.png')} {shop.url('/many/2.png')}\n"
        opened = source(tmp_path, text)
        pictures = [Picture(*each) for each in listed(opened.scan())]
        assert [opened.read(each, 1 << 20) for each in pictures] == [tiny_png(1), tiny_png(2)]
        again = source(tmp_path, text)
        assert [again.read(each, 1 << 20) for each in pictures] == [tiny_png(1), tiny_png(2)]
        assert shop.asked("/many/1.png") == shop.asked("/many/2.png") == 1
    assert len(list((tmp_path / "cache").glob("*.png"))) == 2


@pytest.mark.parametrize("location", ["products.csv#17", "file:///etc/passwd", "/etc/passwd", "ftp://x/y", ""])
def test_what_is_no_address_is_never_read(tmp_path: Path, location: str) -> None:
    opened = source(tmp_path, TEXT)
    with pytest.raises(BadRecord, match=r"17: '.*' is no address; correct it in products.csv"):
        opened.read(Picture("17", 0, location), 100)
    assert opened.locate(location) == str(tmp_path / "products.csv")


def test_a_person_finds_a_picture_at_its_address(tmp_path: Path) -> None:
    assert source(tmp_path, TEXT).locate(f"{WEB}1.jpg") == f"{WEB}1.jpg"


def test_only_a_refresh_that_finds_other_bytes_changes_an_entry(tmp_path: Path) -> None:
    with open_shop() as shop:
        shop["/a.png"] = answer = Versioned(tiny_png(1))
        opened = source(tmp_path, f"id,image_url\n1,{shop.url('/a.png')}\n2,{shop.url('/many/2.png')}\n3,\n")
        before = opened.scan()
        for local_id, ordinal, location in listed(before)[:2]:
            opened.read(Picture(local_id, ordinal, location), 1 << 20)
        downloaded = opened.scan()
        assert downloaded.entries == before.entries
        assert opened.refresh(1 << 20, threading.Event()).changed == 0
        assert opened.scan(downloaded.marks).left_alone == {""}
        answer.set(tiny_png(9), '"2"')
        refreshed = opened.refresh(1 << 20, threading.Event())
        assert (refreshed.asked, refreshed.changed) == (2, 1)
        after = opened.scan(downloaded.marks)
        assert after.left_alone == frozenset()
        etags = after.entries["etag"].to_pylist()
        assert etags[0] is not None
        assert etags[1:] == [None, None]


# ---- the file


@pytest.mark.parametrize("state", ["missing", "folder", "pipe"])
def test_a_catalogue_that_is_no_file_is_an_error(tmp_path: Path, state: str) -> None:
    opened = source(tmp_path, TEXT)
    known = opened.scan().marks
    path = tmp_path / "products.csv"
    path.unlink()
    if state == "folder":
        path.mkdir()
    elif state == "pipe":
        os.mkfifo(path)
    reason = "does not exist; mount or create it" if state == "missing" else "is not a regular file; name the catalogue"
    for marks in (None, known):
        with pytest.raises(SourceError, match=rf"^source 'shop': .*{reason}.*sources.shop.path. Nothing was removed.$"):
            opened.scan(marks)


def test_a_file_of_an_unknown_name_is_told_by_its_content(tmp_path: Path) -> None:
    line = f'{{"id": "1", "image_url": "{WEB}1.jpg"}}\n'
    for data, name in ((line, "feed"), ("\ufeff\n " + line, "feed.txt"), (TEXT, "feed.dat")):
        assert listed(source(tmp_path, data, name).scan())[0] == ("1", 0, f"{WEB}1.jpg")


def test_a_parse_is_kept_for_the_next_who_asks_but_not_more_than_there_is_room_for(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.csv" for n in range(3)]
    for path in paths:
        path.write_text(TEXT)
    rules = CatalogRules()
    size = RecentCatalogues().get(paths[0], rules).nbytes
    recent = RecentCatalogues(room=2 * size)
    first = recent.get(paths[0], rules)
    assert recent.get(paths[0], rules) is first
    assert recent.get(paths[0], CatalogRules(prefix="p")) is not first
    for path in paths:
        recent.get(path, rules)
    assert recent.get(paths[0], rules) is not first
    assert RecentCatalogues(room=0).get(paths[0], rules).entries == first.entries


def test_a_catalogue_is_parsed_once_for_all_that_ask_at_the_same_time(tmp_path: Path) -> None:
    opened = source(tmp_path, TEXT)
    entries = opened.scan().entries
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(opened.records("", entries))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [opened.records("", entries)] * 8


# ---- settings


def test_the_settings_of_a_catalogue_reach_its_source(tmp_path: Path) -> None:
    (tmp_path / "feed.txt").write_text(f"sku|photo|stock\n1|{WEB}1.jpg|5\n1|{WEB}2.jpg|6\n", encoding="utf-8")
    (tmp_path / "embeddings.yaml").write_text(
        "sources:\n"
        "  shop: {kind: catalog, path: feed.txt, format: csv, prefix: s-, repeated: last, fields: {Stock: integer},\n"
        "         columns: {id: [sku], image: [photo]}, download: {concurrency: 3, enabled: false}}\n"
    )
    settings = settings_from(parse_yaml(tmp_path / "embeddings.yaml"), root=tmp_path)
    opened = open_source("shop", settings)
    assert isinstance(opened, CatalogSource)
    assert (opened.threads, opened.own_batches) == (3, False)
    scan = opened.scan()
    assert listed(scan) == [("s-1", 0, f"{WEB}2.jpg")]
    assert [record.metadata for record in opened.records("", scan.entries).values()] == [{"Stock": 6.0}]
    with pytest.raises(NotDownloaded):
        opened.read(Picture(*listed(scan)[0]), 100)
    (tmp_path / "feed.txt").unlink()
    with pytest.raises(SourceError, match=r"or correct sources\.shop\.path \(embeddings\.yaml:2\)"):
        opened.scan()


# ---- size


def test_memory_is_bounded_by_the_number_of_pictures(tmp_path: Path) -> None:
    """Beside what Arrow holds, which is columns, next to nothing is held for each row."""
    count = 20_000
    rows = "".join(f"p{n},A title of product {n},9.99,{WEB}images/large/{n}.jpg\n" for n in range(count))
    opened = source(tmp_path, HEADER + rows)
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    tracemalloc.start()
    entries = opened.scan().entries
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(entries) == count
    assert (pool.bytes_allocated() - before) / count < 400
    assert peak < 12 * 2**20  # blocks of rows in hand, whatever the number of rows
    assert told(opened.scan()) == []


def test_an_address_is_shown_without_its_password(tmp_path: Path) -> None:
    opened = source(tmp_path, "id,image_url\n1,http://me:secret@shop.example/a.jpg?token=abc&w=2\n")
    [location] = opened.scan().entries["location"].to_pylist()
    assert opened.locate(location) == "http://shop.example/a.jpg?token=…&w=2"
