"""Parquet catalogues, as pandas and others write them."""

import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embeddings_dagster.errors import SourceError
from embeddings_dagster.sources.catalog import CatalogSource
from embeddings_dagster_tests.sources.catalogues import WEB, listed, metadata, records, rows_of, source, told


def written(folder: Path, table: pa.Table, name: str = "p.parquet", **rules: object) -> CatalogSource:
    pq.write_table(table, folder / "table", row_group_size=2)
    return source(folder, (folder / "table").read_bytes(), name, **rules)


def one(**cells: object) -> pa.Table:
    """A table of one row."""
    return pa.table({"id": ["1"], "image_url": [f"{WEB}1.jpg"], **cells})


def test_a_table_as_pandas_writes_it(tmp_path: Path) -> None:
    nan = float("nan")
    table = pa.table(
        {
            "product_id": [123.0, nan, 125.0, None],
            "image_url": [f"{WEB}1.jpg", f"{WEB}2.jpg", None, "nan"],
            "price": [9.5, nan, None, 7.0],
            "rating": pa.array([5, None, 4, 3], pa.int64()),
            "title": ["One", None, "nan", ""],
            "__index_level_0__": [0, 1, 2, 3],
        }
    )
    opened = written(tmp_path, table)
    scan = opened.scan()
    assert listed(scan) == [
        ("123", 0, f"{WEB}1.jpg"),
        ("125", 0, "p.parquet#125"),
        ("2", 0, f"{WEB}2.jpg"),
        ("4", 0, "p.parquet#4"),
    ]
    assert rows_of(scan) == 4
    assert metadata(opened) == {
        "123": {"price": 9.5, "rating": 5.0, "title": "One"},
        "125": {"rating": 4.0},
        "2": {},
        "4": {"price": 7.0, "rating": 3.0},
    }
    assert told(scan)[0].startswith("p.parquet:2: has no id (1 more row likewise); they are known by their number")


def test_types_are_kept_and_times_become_text(tmp_path: Path) -> None:
    moment = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
    table = one(
        day=pa.array([date(2024, 2, 29)]),
        local=pa.array([1_709_209_800_123_456_789], pa.timestamp("ns")),
        moment=pa.array([moment], pa.timestamp("ms", "Europe/Berlin")),
        time=pa.array([time(12, 30)]),
        took=pa.array([timedelta(seconds=90)]),
        size=pa.array([Decimal("1.50")]),
        flag=pa.array([True]),
        big=pa.array([2**64 - 1], pa.uint64()),
        word=pa.array(["red"]).dictionary_encode(),
        tags=pa.array([["a", None]]),
        maker=pa.array([{"name": "ACME", "since": date(1950, 1, 1)}]),
        pairs=pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        nothing=pa.nulls(1),
    )
    assert metadata(written(tmp_path, table)) == {
        "1": {
            "day": "2024-02-29",
            "local": "2024-02-29T12:30:00.123456",
            "moment": "2024-02-29T13:30:00+01:00",
            "time": "12:30:00",
            "took": 90.0,
            "size": 1.5,
            "flag": True,
            "big": "18446744073709551615",
            "word": "red",
            "tags": ["a", None],
            "maker": {"name": "ACME", "since": "1950-01-01"},
            "pairs": [["a", 1]],
        }
    }


def test_what_python_cannot_hold_is_text_or_left_out_and_told(tmp_path: Path) -> None:
    table = one(
        far=pa.array([2**52], pa.timestamp("ms")),
        old=pa.array([-377_705_116_800_000], pa.timestamp("ms")),
        odd=pa.array([1], pa.timestamp("us", "Nowhere/Land")),
        fine=pa.array([[1_709_209_800_123_456_789]], pa.list_(pa.timestamp("ns"))),
        picture=pa.array([b"\xff\xd8"]),
        embedded=pa.array([{"bytes": b"\xff", "path": "a.jpg"}]),
        title=["One"],
    )
    opened = written(tmp_path, table)
    found = metadata(opened)["1"]
    assert found["title"] == "One"
    assert str(found["old"]).startswith("-9999")
    assert not {"picture", "embedded", "fine", "far", "odd"} & found.keys()
    assert "p.parquet: columns of bytes are not read: picture, embedded" in told(opened.scan())
    assert any(line.startswith("p.parquet: column 'fine' is left out: ") for line in told(opened.scan()))


def test_a_list_of_addresses_gives_several_pictures(tmp_path: Path) -> None:
    table = pa.table({"id": [1, 2], "image_url": [[f"{WEB}a.jpg", None, f"{WEB}c.jpg"], []]})
    scan = written(tmp_path, table).scan()
    assert listed(scan) == [("1", 0, f"{WEB}a.jpg"), ("1", 2, f"{WEB}c.jpg"), ("2", 0, "p.parquet#2")]


def test_a_parquet_file_is_known_by_its_content(tmp_path: Path) -> None:
    assert listed(written(tmp_path, one(), "products.csv").scan()) == [("1", 0, f"{WEB}1.jpg")]


def test_ids_of_other_types_become_text(tmp_path: Path) -> None:
    table = pa.table({"id": pa.array([date(2024, 1, 2)]), "image_url": [f"{WEB}1.jpg"]})
    assert listed(written(tmp_path, table).scan())[0][0] == "2024-01-02"
    named = uuid.UUID(int=1)
    table = pa.table({"id": pa.array([named.bytes], pa.uuid()), "image_url": [f"{WEB}1.jpg"]})
    assert listed(written(tmp_path, table).scan())[0][0] == str(named)


def test_blocks_of_rows_are_joined_in_order(tmp_path: Path) -> None:
    count = 10_000
    table = pa.table({"image_url": [f"{WEB}{n}.jpg" for n in range(count)], "n": list(range(count))})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=3_000)
    opened = source(tmp_path, (tmp_path / "p.parquet").read_bytes(), "p.parquet")
    found = records(opened)
    assert len(found) == count
    assert all(found[str(n + 1), 0].metadata == {"n": n} for n in range(0, count, 997))


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "flipped", "no rows"])
def test_a_damaged_file_is_an_error(tmp_path: Path, damage: str) -> None:
    pq.write_table(one(), tmp_path / "good", write_page_checksum=True, compression="none", use_dictionary=False)
    data = (tmp_path / "good").read_bytes()
    if damage == "cut":
        data = data[:-100]
    elif damage == "text":
        data = b"id,image_url\n1,x\n"
    elif damage == "empty":
        data = b""
    elif damage == "flipped":
        data = data.replace(b"1.jpg", b"2.jpg")
    else:
        pq.write_table(one().slice(0, 0), tmp_path / "good")
        data = (tmp_path / "good").read_bytes()
    with pytest.raises(SourceError, match=r"(is damaged|is empty).*write it again.*Nothing was removed"):
        source(tmp_path, data, "p.parquet").scan()
