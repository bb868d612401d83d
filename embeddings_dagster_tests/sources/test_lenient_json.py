import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.errors import BadRecord
from embeddings_dagster.sources.lenient_json import clean, decode, parse, under


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16"])
def test_every_encoding_seen_is_read(encoding: str) -> None:
    assert parse('{"text": "Où ça? Là — ici"}'.replace("—", "-").encode(encoding), "p.json").value == {
        "text": "Où ça? Là - ici"
    }


def test_a_byte_that_windows_does_not_know_is_latin_1() -> None:
    assert decode(b"\x81\xe9") == "\x81é"
    assert decode(b"\x93Hi\x94") == "“Hi”"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": 1,\n "b": }', r"p\.json: is not JSON: .* at line 2, column 7; correct it"),
        (b"", r"p\.json: is empty; write it again"),
        (b"\xef\xbb\xbf \n", "is empty"),
        (b'{"items": [,]}', "line 1, column 12"),
        (b"[1,,]", "line 1, column 4"),
        (b'{"a": [1,', "line 1, column 10"),
        (b'```json\n{"a": [1,', "line 1, column 1"),
        (b'["a', "Unterminated string starting at line 1, column 2"),
        (b"[" * 100_000, "nested more than 200 levels deep"),
        (b'{"a":' * 201 + b"1" + b"}" * 201, "nested more than 200 levels deep"),
    ],
)
def test_what_is_no_json_is_refused_by_line(data: bytes, reason: str) -> None:
    with pytest.raises(BadRecord, match=reason):
        parse(data, "p.json")


def test_numbers_of_any_length_nan_and_raw_line_breaks_are_read() -> None:
    value = parse(b'{"a": ' + b"9" * 5000 + b', "b": NaN, "c": "x\ny", "d": 7}', "p.json").value
    assert isinstance(value, dict)
    assert value["a"] == float("inf")
    assert (value["c"], value["d"]) == ("x\ny", 7)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": ["x,]", 1,], "b": "\\",}",}',
        '```json\n{"a": ["x,]", 1], "b": "\\",}"}\n```',
        'Here is the page:\r\n```\r\n{"a": ["x,]", 1 ], "b": "\\",}",\n}\r\n``` I hope this helps {}',
        '```JSON\n{"a": ["x,]", 1], "b": "\\",}"}',
    ],
)
def test_what_language_models_add_to_a_document_is_passed_over(text: str) -> None:
    assert parse(text.encode(), "p.json").value == {"a": ["x,]", 1], "b": '",}'}


def test_brackets_in_text_are_no_nesting() -> None:
    assert parse(json.dumps({"a": "[{" * 500}).encode(), "p.json").value == {"a": "[{" * 500}


def test_repeated_names_are_told() -> None:
    parsed = parse(b'{"a": 1, "a": 2, "b": {"c": 1, "c": 1}}', "p.json")
    assert parsed.value == {"a": 2, "b": {"c": 1}}
    assert sorted(parsed.repeated) == ["a", "c"]


def test_names_are_found_in_any_case_in_the_order_asked_for() -> None:
    value = {"Boxes": 1, "PANELS": 2, "panels": 3, "other": 4}
    assert list(under(value, ("panels", "boxes"))) == [("panels", 3), ("PANELS", 2), ("Boxes", 1)]


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(BadRecord):
        parse(data, "p.json")


@given(st.text(st.characters(), max_size=20))
def test_cleaned_text_can_be_stored(text: str) -> None:
    assert "\0" not in clean(text)
    clean(text).encode()
    assert clean(clean(text)) == clean(text)


def test_halves_of_a_character_are_joined_and_alone_replaced() -> None:
    assert clean("\ud83d\ude00 \ud83d!") == "\N{GRINNING FACE} \ufffd!"
