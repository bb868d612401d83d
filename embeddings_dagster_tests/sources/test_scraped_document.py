import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.errors import BadRecord
from embeddings_dagster.sources.scraped.document import parse_document

ITEMS = [{"item_id": 1, "title": "été"}, {"item_id": 2}]
LINES = "\n".join(json.dumps(item, ensure_ascii=False) for item in ITEMS)


@pytest.mark.parametrize("by_line", [False, True])
@pytest.mark.parametrize("name", ["items", "products", "data"])
def test_the_items_stand_under_one_of_three_names(name: str, by_line: bool) -> None:
    data = json.dumps({"category": "x", name: ITEMS, "items_per_page": 2}).encode()
    assert parse_document(data, "b", by_line=by_line) == (ITEMS, {"category": "x", "items_per_page": 2}, ())


def test_the_first_name_that_holds_a_list_counts() -> None:
    assert parse_document(b'{"data": [3], "items": null, "products": [2]}', "b", by_line=False)[0] == [2]


@pytest.mark.parametrize("by_line", [False, True])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_bare_list_is_the_items(by_line: bool, indent: int | None) -> None:
    assert parse_document(json.dumps(ITEMS, indent=indent).encode(), "b", by_line=by_line) == (ITEMS, {}, ())


@pytest.mark.parametrize("by_line", [False, True])
@pytest.mark.parametrize("end", ["", "\n", "\r\n\r\n"])
def test_lines_are_items_whatever_the_file_is_called(by_line: bool, end: str) -> None:
    data = f"\n{LINES}{end}".replace("\n", "\r\n").encode()
    assert parse_document(data, "b", by_line=by_line) == (ITEMS, {}, ())


def test_one_line_may_be_one_item_even_with_a_list_of_its_own() -> None:
    item = {"item_id": 1, "data": [1, 2]}
    assert parse_document(json.dumps(item).encode(), "b", by_line=True) == ([item], {}, ())


def test_a_separator_of_lines_within_a_text_divides_nothing() -> None:
    data = '{"item_id": 1, "title": "a\u2028b\x85c"}\n{"item_id": 2}'.encode()
    assert [item["item_id"] for item in parse_document(data, "b", by_line=True)[0]] == [1, 2]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
@pytest.mark.parametrize("by_line", [False, True])
def test_encodings_as_they_come(encoding: str, by_line: bool) -> None:
    text = LINES if by_line else json.dumps({"items": ITEMS}, ensure_ascii=False)
    assert parse_document(text.encode(encoding), "b", by_line=by_line)[0] == ITEMS


def test_a_bad_character_in_one_line_does_not_change_how_the_others_are_read() -> None:
    data = LINES.encode() + b'\n{"item_id": 3, "title": "\xe9t\xe9"}\n{"item_id": 4, "title": "\xc3'
    items, _, bad = parse_document(data, "b", by_line=True)
    assert items == [*ITEMS, {"item_id": 3, "title": "été"}]
    assert [line.partition(":")[0] for line in bad] == ["line 4"]
    assert bad[0].endswith("Unterminated string starting at column 25; correct it")


def test_the_last_of_repeated_keys_counts() -> None:
    assert parse_document(b'[{"item_id": 1, "item_id": 2}]', "b", by_line=False)[0] == [{"item_id": 2}]


def test_a_thousand_bad_lines_are_named_and_the_rest_counted() -> None:
    _, _, bad = parse_document(b"[1]\n" + b"{\n" * 1200, "b", by_line=True)
    assert (len(bad), bad[-1]) == (1001, "200 more lines are not JSON; correct them")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "b: is empty; write it again, or delete it"),
        (b"{}", "b: holds no list of items, neither as it stands nor under 'items', 'products', 'data'; correct it"),
        (b'{"items": {"1": {}}}', "b: holds no list of items"),
        (b"7", "b: holds no list of items"),
        (b'[\n{"item_id": 1},\n', "b: is not JSON: Expecting value at line 3, column 1; correct it"),
        (b"{]\n{]", "b: is not JSON: .* at line 1, column 2; correct it"),
        (b"[" * 10**5, "b: .*nested"),
    ],
)
@pytest.mark.parametrize("by_line", [False, True])
def test_what_holds_no_items_is_an_error_that_says_where(data: bytes, message: str, by_line: bool) -> None:
    with pytest.raises(BadRecord, match=message):
        parse_document(data, "b", by_line=by_line)


@given(st.binary(), st.booleans())
def test_any_bytes_are_items_or_an_error(data: bytes, by_line: bool) -> None:
    try:
        items, _, bad = parse_document(data, "b", by_line=by_line)
    except BadRecord:
        return
    assert isinstance(items, list)
    assert not bad or items
