"""JSON Lines."""

import json
from pathlib import Path

import pytest

from embeddings_dagster.errors import SourceError
from embeddings_dagster_tests.sources.catalogues import WEB, listed, metadata, rows_of, source, told


def lines(*values: object) -> str:
    return "".join(f"{value if isinstance(value, str) else json.dumps(value)}\n" for value in values)


def test_values_keep_their_types_and_nested_ones_their_form(tmp_path: Path) -> None:
    row = {
        "product_id": 17,
        "image_url": f"{WEB}1.jpg",
        "title": "One",
        "stock": 3,
        "new": True,
        "none": None,
        "blank": " ",
        "empty": [],
        "sizes": ["S", None, 1.5],
        "maker": {"name": "ACME", "since": 1950},
        "price": "12,50 €",
        "rating": 4,
    }
    opened = source(tmp_path, lines(row), "p.jsonl")
    assert metadata(opened) == {
        "17": {
            "title": "One",
            "stock": 3,
            "new": True,
            "sizes": ["S", None, 1.5],
            "maker": {"name": "ACME", "since": 1950},
            "price": 12.5,
            "currency": "EUR",
            "rating": 4.0,
        }
    }
    assert told(opened.scan()) == []


@pytest.mark.parametrize(
    ("value", "local_id"), [(7, "7"), (7.0, "7"), ("7.0", "7.0"), ("007", "007"), (7.5, "7.5"), (True, "true")]
)
def test_a_number_that_is_whole_is_an_id_without_a_point(tmp_path: Path, value: object, local_id: str) -> None:
    scan = source(tmp_path, lines({"id": value, "image_url": f"{WEB}1.jpg"}), "p.ndjson").scan()
    assert listed(scan) == [(local_id, 0, f"{WEB}1.jpg")]


def test_a_line_that_is_no_record_costs_itself_and_keeps_its_number(tmp_path: Path) -> None:
    good = {"image_url": f"{WEB}1.jpg"}
    text = lines(good, "{broken", "", "[1]", '"text"', "{" * 100_000, '{"a":' * 5_000, good)
    scan = source(tmp_path, text, "p.jsonl").scan()
    assert listed(scan) == [("1", 0, f"{WEB}1.jpg"), ("7", 0, f"{WEB}1.jpg")]
    assert scan.ignored == {"not a record": 5}
    assert rows_of(scan) == 7
    assert [line.partition(";")[0] for line in told(scan)[:5]] == [
        "p.jsonl:2: is not JSON: Expecting property name enclosed in double quotes at line 1, column 2",
        "p.jsonl:4: is no object but list",
        "p.jsonl:5: is no object but str",
        "p.jsonl:6: nested more than 200 levels deep",
        "p.jsonl:7: nested more than 200 levels deep",
    ]


def test_rows_need_not_have_the_same_columns(tmp_path: Path) -> None:
    text = lines(
        {"Image_URL": f"{WEB}1.jpg", "ID": "a", "x": 1}, {"id": "b"}, {" product_id ": "c", "image_url": f"{WEB}3.jpg"}
    )
    opened = source(tmp_path, text, "p.jsonl")
    assert listed(opened.scan()) == [("a", 0, f"{WEB}1.jpg"), ("b", 0, "p.jsonl#b"), ("c", 0, f"{WEB}3.jpg")]
    assert metadata(opened) == {"a": {"x": 1}, "b": {}, "c": {}}


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000])
def test_numbers_that_are_none_are_absent(tmp_path: Path, constant: str) -> None:
    text = f'{{"id": 1, "image_url": "{WEB}1.jpg", "a": {constant}, "rating": {constant}, "b": [{constant}]}}\n'
    opened = source(tmp_path, text, "p.jsonl")
    assert metadata(opened) == {"1": {"b": [None]}}


def test_halves_of_characters_are_replaced(tmp_path: Path) -> None:
    text = f'{{"id": "\\ud800", "image_url": "{WEB}\\ud800.jpg", "\\ud800": "\\ud800x\\u0000"}}\n'
    opened = source(tmp_path, text, "p.jsonl")
    assert listed(opened.scan()) == [("\ufffd", 0, f"{WEB}\ufffd.jpg")]
    assert metadata(opened) == {"\ufffd": {"\ufffd": "\ufffdx"}}


def test_what_is_too_deep_or_too_large_is_left_out_and_told(tmp_path: Path) -> None:
    deep: object = 1
    for _ in range(20):
        deep = [deep]
    row = {"id": {"a": 1}, "product_id": "x", "image_url": f"{WEB}1.jpg", "deep": deep, "large": ["y" * 70_000]}
    opened = source(tmp_path, lines(row, {**row, "product_id": ["y"]}), "p.jsonl")
    assert metadata(opened) == {"x": {"id": {"a": 1}}, "2": {"id": {"a": 1}, "product_id": ["y"]}}
    assert [line.partition(";")[0] for line in told(opened.scan())] == [
        "p.jsonl:1: deep: is nested too deeply",
        "p.jsonl:1: large: is too large",
        "p.jsonl:2: product_id: a list or an object is no id",
        "p.jsonl:2: id: a list or an object is no id",
        "p.jsonl:2: deep: is nested too deeply",
        "p.jsonl:2: large: is too large",
        "p.jsonl:2: has no id",
    ]


def test_names_said_twice_are_told(tmp_path: Path) -> None:
    scan = source(tmp_path, f'{{"id": 1, "id": 2, "image_url": "{WEB}1.jpg"}}\n', "p.jsonl").scan()
    assert listed(scan) == [("2", 0, f"{WEB}1.jpg")]
    assert told(scan) == ["p.jsonl:1: says id twice; the last counts. Leave one"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[\n{}\n]\n", "is a JSON array; write each of its objects on a line of its own"),
        ("nonsense\n", r"holds no record \(p.jsonl:1: is not JSON"),
        ('{"id": 1}\n', "has no column named 'image_url', but 'id'"),
    ],
)
def test_a_file_without_records_is_an_error(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        source(tmp_path, text, "p.jsonl").scan()
