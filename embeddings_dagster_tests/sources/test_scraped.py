import json
import os
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster.errors import ReadFailed, SourceError, TooManyBytes
from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_sources import ScrapedSource as ScrapedSettings
from embeddings_dagster.sources import SCAN, Picture, Scan, open_source
from embeddings_dagster.sources.scraped import ScrapedSource
from embeddings_dagster_tests.sources.scraping import (
    age,
    all_records,
    check,
    item,
    listed,
    reasons,
    record_of,
    scanned,
    write,
    write_batch,
)


def test_an_entry_says_all_that_is_known_without_reading(tmp_path: Path) -> None:
    write_batch(tmp_path, "spring", item(7, "images/7/0.jpg"))
    file = write(tmp_path, "spring/images/7/0.jpg", b"12345")
    scan = scanned(tmp_path, prefix="p_")
    assert scan.entries.schema == SCAN
    ((_, record),) = all_records(ScrapedSource("shop", tmp_path, prefix="p_"), scan).items()
    assert scan.entries.to_pylist() == [
        {
            "local_id": "p_7",
            "item_id": "p_7",
            "ordinal": 0,
            "batch": "shop__spring",
            "location": "spring/images/7/0.jpg",
            "size": 5,
            "mtime_ns": file.stat().st_mtime_ns,
            "etag": None,
            "record_hash": record.digest(),
            "record_file": "spring/batch.json",
        }
    ]


def test_an_item_listed_in_several_batches_is_an_entry_in_each(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item(7))
    write_batch(tmp_path, "two", item(7), item(8))
    assert [each[:2] for each in listed(scanned(tmp_path))] == [("one", "7"), ("two", "7"), ("two", "8")]


def test_an_item_listed_twice_in_one_batch_counts_once_and_a_difference_is_told(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item(7), item(8), item(7), item("8", title="another"), item(8.0, title="a third"))
    scan = scanned(tmp_path)
    assert [each[1] for each in listed(scan)] == ["7", "8"]
    assert scan.ignored == {"item listed again": 3}
    told = "item 8: is listed again, and differs; the first one counts (and 1 more alike: item 8)"
    assert reasons(scan) == {"one/batch.json": [told]}
    assert record_of(tmp_path, "8").metadata["title"] == "Item 8"


def test_what_cannot_be_named_is_not_listed_but_counted_and_told(tmp_path: Path) -> None:
    nameless = [{"title": "x"}, item(None), item(True), item(1.5), item(""), item([1]), item("x" * 1025), item({})]
    write_batch(tmp_path, "one", *nameless, "text", None, 5, [item(1)], item(1))
    scan = scanned(tmp_path)
    assert [each[1] for each in listed(scan)] == ["1"]
    assert scan.ignored == {"item without an id": 8, "not an item, but something else in its place": 4}
    assert reasons(scan)["one/batch.json"] == [
        "entry 1: has no item_id or id of 1 to 1,024 characters, and cannot be named; give it one (and 7 more alike: "
        "entry 2, entry 3, entry 4, entry 5, entry 6, …)",
        "entry 9: is no object; correct it (and 3 more alike: entry 10, entry 11, entry 12)",
    ]


@pytest.mark.parametrize(
    ("given_id", "local_id"),
    [
        *((7, "7"), (7.0, "7"), ("7", "7"), (" 7 ", "7"), ("a/b", "a/b"), ("été", "été"), (-1, "-1")),
        *(("a#1", "a%231"), ("100%", "100%25"), ("a\nb", "a%0Ab"), ("\ud800", "%ED%A0%80"), ("a\0", "a%00")),
    ],
)
def test_an_id_becomes_one_printable_id(tmp_path: Path, given_id: object, local_id: str) -> None:
    write_batch(tmp_path, "one", item(given_id))
    assert [each[1] for each in listed(scanned(tmp_path))] == [local_id]


def test_two_ids_that_are_escaped_alike_are_one_item(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item("\ud800"), item("\udced\udca0\udc80"))
    scan = scanned(tmp_path)
    assert [each[1] for each in listed(scan)] == ["%ED%A0%80"]
    assert scan.ignored == {"item listed again": 1}


def test_another_number_of_items_than_announced_is_told_and_they_are_taken(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item(1), total_items=5)
    write_batch(tmp_path, "two", item(2), total_items=1)
    write_batch(tmp_path, "three", item(3), total_items="many")
    scan = scanned(tmp_path)
    assert len(scan.entries) == 3
    told = "the batch: total_items is 5, but 1 are listed; those that are listed are taken"
    assert reasons(scan) == {"one/batch.json": [told]}


def test_a_thousand_problems_are_told_and_then_how_many_more(tmp_path: Path) -> None:
    write(tmp_path, "spring.jsonl", "\n".join(['{"item_id": 1}', *["{"] * 1500]))
    for number in range(3):
        write_batch(tmp_path, f"bad {number}", "x")
    scan = scanned(tmp_path)
    assert len(scan.problems) == 1001
    assert scan.problems[-1].reason.endswith(" more problems are not listed; correct these, and the rest will be told")


# ---- unfinished and damaged files


@pytest.mark.parametrize(
    "content", ["", " \n", "[", '{"items": [{"item_id"', "{}", '{"items": 5}', '{"items": {}}', '"x"', "null", "\0" * 9]
)
def test_a_young_file_that_makes_no_sense_is_left_and_an_old_one_is_told(tmp_path: Path, content: str) -> None:
    write(tmp_path, "one/batch.json", content)
    scan = scanned(tmp_path, young=True)
    assert (scan.left_alone, scan.problems) == ({"shop__one"}, ())
    assert scan.ignored == {"batch file that is still being written, left for the next look": 1}
    scan = scanned(tmp_path)
    assert scan.left_alone == {"shop__one"}
    assert scan.ignored == {"batch file that cannot be read, left as it was": 1}
    (reason,) = reasons(scan)["one/batch.json"]
    assert reason.endswith(". Nothing of its batch was changed")
    with pytest.raises(SourceError, match=r"source 'shop': batch shop__one: one/batch\.json: .*; then run again"):
        ScrapedSource("shop", tmp_path).records("shop__one", scan.entries)


def test_a_damaged_file_is_told_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, "one/batch.json", '{"items": [\n{"item_id": 1},\n{"item_id": }\n]}')
    (reason,) = reasons(scanned(tmp_path))["one/batch.json"]
    assert reason == ("is not JSON: Expecting value at line 3, column 13; correct it. Nothing of its batch was changed")


def test_a_file_from_the_future_is_young_for_a_minute_only(tmp_path: Path) -> None:
    write(tmp_path, "one/batch.json", "[")
    age(tmp_path, -30)
    assert scanned(tmp_path, young=True).problems == ()
    age(tmp_path, -3600)
    assert "is not JSON" in scanned(tmp_path, young=True).problems[0].reason


def test_lines_that_are_cut_off_wait_while_young_and_cost_themselves_when_old(tmp_path: Path) -> None:
    write(tmp_path, "spring.jsonl", '{"item_id": 1}\n{"item_id": \n{"item_id": 3}\n{"item_')
    assert scanned(tmp_path, young=True).left_alone == {"shop__spring.jsonl"}
    scan = scanned(tmp_path)
    assert [each[1] for each in listed(scan)] == ["1", "3"]
    bad = [reason for reason in reasons(scan)["spring.jsonl"] if reason.startswith("not taken: line")]
    assert [reason.partition(": is not JSON")[0] for reason in bad] == ["not taken: line 2", "not taken: line 4"]


def test_a_file_that_cannot_be_opened_leaves_its_batch_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_batch(tmp_path, "one", item(1))
    write_batch(tmp_path, "two", item(2))
    opened = os.open

    def refuse(path: str, *args: object) -> int:
        if str(path).endswith("one/batch.json"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *args)

    monkeypatch.setattr(os, "open", refuse)
    age(tmp_path)
    source = ScrapedSource("shop", tmp_path)
    scan = source.scan()
    assert [each[:2] for each in listed(scan)] == [("two", "2")]
    assert scan.left_alone == {"shop__one"}
    assert "cannot be read (Permission denied)" in scan.problems[0].reason
    with pytest.raises(SourceError, match=r"one/batch\.json: cannot be read \(Permission denied\); then run again"):
        source.records("shop__one", scan.entries)


def test_the_folder_of_an_items_pictures_that_cannot_be_listed_leaves_the_batch_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_batch(tmp_path, "one", item(1))
    write(tmp_path, "one/images/1/0.jpg", b"x")
    listdir = os.listdir

    def refuse(path: str) -> list[str]:
        if path.endswith("images/1"):
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    age(tmp_path)
    assert ScrapedSource("shop", tmp_path).scan().left_alone == {"shop__one"}


def test_a_huge_file_is_refused_and_not_read(tmp_path: Path) -> None:
    write(tmp_path, "one/batch.json", "[")
    with open(tmp_path / "one/batch.json", "r+b") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    try:
        scan = scanned(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
        tracemalloc.stop()
    assert "has more than 268,435,456 bytes; cut it into several batches" in scan.problems[0].reason


@pytest.mark.parametrize("bomb", ["[" * 10**6, '{"items":' * 10**5, '[{"a":' + "[" * 5000 + "]" * 5000 + "}]"])
def test_json_that_is_nested_for_ever_is_a_problem(tmp_path: Path, bomb: str) -> None:
    write(tmp_path, "one/batch.json", bomb)
    assert "nested" in scanned(tmp_path).problems[0].reason


# ---- records


def test_records_follow_the_file_and_lack_what_it_no_longer_has(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item(1, "a.jpg", "b.jpg"), item(2, "c.jpg"))
    scan = scanned(tmp_path)
    source = ScrapedSource("shop", tmp_path)
    before = source.records("shop__one", scan.entries)
    assert set(before) == {("1", 0), ("1", 1), ("2", 0)}
    write_batch(tmp_path, "one", item(1, "a.jpg", price=6))
    after = source.records("shop__one", scan.entries)
    assert set(after) == {("1", 0)}
    assert after["1", 0].digest() != before["1", 0].digest()
    shutil.rmtree(tmp_path / "one")
    assert source.records("shop__one", scan.entries) == {}


def test_records_of_some_rows_are_those_rows(tmp_path: Path) -> None:
    write_batch(tmp_path, "2024/été", item(1, "a.jpg", "b.jpg"), item(2))
    rows = scanned(tmp_path).entries.slice(1, 1)
    assert set(ScrapedSource("shop", tmp_path).records(rows["batch"][0].as_py(), rows)) == {("1", 1)}


@pytest.mark.parametrize("batch", ["shop__gone", "shop__..", "shop__spring-0123456789", "shop__one.json"])
def test_a_batch_that_is_not_there_has_no_records(tmp_path: Path, batch: str) -> None:
    root = tmp_path / "scraped"
    write_batch(root, "one", item(1))
    write_batch(tmp_path, "", item(1))
    assert ScrapedSource("shop", root).records(batch, scanned(root).entries) == {}


# ---- reading


def test_pictures_are_read_within_the_root_only(tmp_path: Path) -> None:
    root = tmp_path / "scraped"
    write_batch(root, "one", item(1, "a.jpg"))
    write(root, "one/a.jpg", b"12345")
    write(tmp_path, "secret.jpg", b"x")
    (root / "one/out.jpg").symlink_to("../../secret.jpg")
    source = ScrapedSource("shop", root)
    assert source.locate("one/a.jpg") == str(root / "one/a.jpg")
    assert source.read(Picture("1", 0, "one/a.jpg"), 5) == b"12345"
    with pytest.raises(TooManyBytes):
        source.read(Picture("1", 0, "one/a.jpg"), 4)
    with pytest.raises(ReadFailed, match=r"one/b\.jpg: is not there; put it where its record says") as caught:
        source.read(Picture("1", 0, "one/b.jpg"), 5)
    assert caught.value.retryable
    for location in ("../secret.jpg", "one/out.jpg", str(tmp_path / "secret.jpg")):
        with pytest.raises(ReadFailed, match="lies outside of the folder of source 'shop'"):
            source.read(Picture("1", 0, location), 5)
    assert source.look(pa.chunked_array([["one/a.jpg", "../secret.jpg", "one/out.jpg", "one", ""]]))[
        "size"
    ].to_pylist() == [5, None, None, None, None]


def test_a_source_is_opened_from_the_settings(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item(1))
    options = ScrapedSettings(kind="scraped", path=tmp_path, prefix="p_")
    source = open_source("shop", Settings(sources={"shop": options}))
    assert source.own_batches
    assert source.scan().entries["local_id"].to_pylist() == ["p_1"]


# ---- what the old system did wrong


def test_ids_depend_neither_on_where_the_root_is_nor_on_when_it_is_looked_at(tmp_path: Path) -> None:
    root = tmp_path / "here"
    write_batch(root, "one", item(1, str(root / "one/a.jpg")))
    write(root, "one/a.jpg", b"x")
    before = listed(scanned(root))
    (tmp_path / "there").mkdir()
    root.rename(tmp_path / "there/here")
    assert listed(scanned(tmp_path / "there/here")) == before == [("one", "1", 0, "one/a.jpg")]


def test_an_item_that_failed_once_is_listed_again_each_time(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item(1, "a.jpg"), item(2, "../a.jpg"), item(3))
    known: dict[str, str] = {}
    for _ in range(3):
        scan = scanned(tmp_path, known)
        known |= scan.marks
        assert [each[1] for each in listed(scan)] == ["1", "2", "3"]


def test_image_0_is_image_0_whatever_is_missing_before_or_after_it(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item(1, "0.jpg", None, "../2.jpg", "3.jpg", "gone.jpg", "3.jpg"))
    for name in ("0.jpg", "3.jpg"):
        write(tmp_path, f"one/{name}", name.encode())
    found = {ordinal: location for _, _, ordinal, location in listed(scanned(tmp_path))}
    assert found == {0: "one/0.jpg", 1: "", 2: "", 3: "one/3.jpg", 4: "one/gone.jpg", 5: "one/3.jpg"}
    (tmp_path / "one/0.jpg").unlink()
    rows = scanned(tmp_path).entries
    assert rows["location"].to_pylist() == [found[ordinal] for ordinal in range(6)]
    assert rows["size"].to_pylist() == [None, None, None, 5, None, 5]


# ---- size and anything


def test_an_entry_takes_less_than_500_bytes(tmp_path: Path) -> None:
    for number in range(100):
        items = [item(number * 100 + each, *(f"images/{each}/{n}.jpg" for n in range(2))) for each in range(100)]
        write_batch(tmp_path, f"batch_20240131_2359{number:02d}_000000", *items)
    age(tmp_path)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        scan = ScrapedSource("shop", tmp_path).scan()
        python_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(scan.entries) == 20_000
    assert (python_peak + pa.total_allocated_bytes() - before) / len(scan.entries) < 500


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["nan", "", "12 €"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = (
    *("item_id", "id", "title", "price", "currency", "url", "category", "scraped_at", "image_urls", "description"),
    *("local_image_paths", "local_image_path", "extra"),
)
PATHS = st.lists(
    st.text(max_size=8) | st.sampled_from(["a.jpg", "..", "images/1/0.jpg", "C:\\a", "/etc/passwd", "NUL"])
)
ITEMS = st.fixed_dictionaries(
    {"item_id": st.integers(0, 3) | VALUES},
    optional=dict.fromkeys(KEYS[1:], VALUES) | {"local_image_paths": PATHS | VALUES},
)
DOCUMENTS = st.fixed_dictionaries(
    {"items": st.lists(ITEMS | VALUES, max_size=4) | VALUES},
    optional=dict.fromkeys(("category", "scraped_at", "total_items"), VALUES),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples: a batch with pictures, whose file each of them writes anew."""
    root = tmp_path_factory.mktemp("scraped")
    for name in ("a.jpg", "images/1/0.jpg", "images/2/x.png"):
        write(root, f"one/{name}", b"x")
    return root


def scan_of(root: Path, name: str, content: object) -> Scan:
    write(root, name, content)
    age(root)
    source = ScrapedSource("shop", root)
    scan = source.scan()
    check(source, scan)
    return scan


@settings(max_examples=150, deadline=None)
@given(st.lists(ITEMS | VALUES, max_size=4) | DOCUMENTS | VALUES)
def test_any_json_is_entries_or_problems_and_every_item_is_counted(place: Path, document: Any) -> None:
    scan = scan_of(place, "one/batch.json", json.dumps(document))
    items = document.get("items") if isinstance(document, dict) else document
    if isinstance(items, list):
        listed_items = len(set(scan.entries["local_id"].to_pylist()))
        assert listed_items + sum(scan.ignored.values()) == len(items)
    elif not isinstance(document, dict):
        assert scan.left_alone == {"shop__one"}


@settings(max_examples=150, deadline=None)
@given(st.binary() | st.text('[]{}:,"0123eE.- \n\\unatils_d', max_size=40).map(str.encode))
def test_any_bytes_are_entries_or_problems(place: Path, content: bytes) -> None:
    for name in ("one/batch.json", "spring.jsonl"):
        scan = scan_of(place, name, content)
        assert len(scan.entries) or scan.left_alone or content.strip() == b"[]" or scan.ignored
