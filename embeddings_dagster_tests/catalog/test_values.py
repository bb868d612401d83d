"""One rule says what a number, a moment and a text is, for what is stored and for what is asked."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.catalog.values import LATEST, Kind, Value, clean, fields_of, fold, span_of, value_of

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (20, Value(Kind.NUMBER, 20, "20")),
        (19.9, Value(Kind.NUMBER, 19.9, "19.9")),
        (20.0, Value(Kind.NUMBER, 20.0, "20")),
        ("20", Value(Kind.NUMBER, 20, "20")),
        (" 19.90 ", Value(Kind.NUMBER, 19.9, "19.90")),
        ("-3", Value(Kind.NUMBER, -3, "-3")),
        ("042", Value(Kind.TEXT, "042", "042")),
        ("1.2.3", Value(Kind.TEXT, "1.2.3", "1.2.3")),
        ("1e5", Value(Kind.TEXT, "1e5", "1e5")),
        ("4006381333931", Value(Kind.NUMBER, 4006381333931, "4006381333931")),
        ("1234567890123456", Value(Kind.TEXT, "1234567890123456", "1234567890123456")),
        (2**70, Value(Kind.NUMBER, float(2**70), str(2**70))),
        (float("nan"), Value(Kind.TEXT, "nan", "nan")),
        (True, Value(Kind.TEXT, "true", "true")),
        ("Größe  XL", Value(Kind.TEXT, "grösse xl", "Größe  XL")),
        ("2026-01-02", Value(Kind.TIME, "2026-01-02T00:00:00.000000Z", "2026-01-02")),
        ("2026-01-02T14:00:00+02:00", Value(Kind.TIME, "2026-01-02T12:00:00.000000Z", "2026-01-02T14:00:00+02:00")),
        ("2026-02-30", Value(Kind.TEXT, "2026-02-30", "2026-02-30")),
        ("x" * 121, Value(Kind.LONG, "x" * 121, "")),
        ("", Value(Kind.TEXT, "", "")),
    ],
)
def test_a_value_is_what_it_looks_like(written: object, expected: Value) -> None:
    assert value_of(written) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "first", "after"),
    [
        ("2026", "2026-01-01", "2027-01-01"),
        ("2026-12", "2026-12-01", "2027-01-01"),
        ("2026-02", "2026-02-01", "2026-03-01"),
        ("2026-02-28", "2026-02-28", "2026-03-01"),
        ("9999", "9999-01-01", LATEST),
        ("9999-12-31", "9999-12-31", LATEST),
        ("2026-01-02T12:00:00Z", "2026-01-02T12:00:00.000000Z", "2026-01-02T12:00:00.000001Z"),
    ],
)
def test_a_moment_lasts_as_long_as_it_is_exact(asked: str, first: str, after: str) -> None:
    span = span_of(asked)
    assert span is not None
    assert span[0].startswith(first)
    assert span[1].startswith(after)


@pytest.mark.parametrize("asked", ["0000", "2026-13", "26-01-01", "0001-01-01T00:00+05:00", "now", "", "2026-1-1"])
def test_what_is_no_moment_has_no_span(asked: str) -> None:
    assert span_of(asked) is None


def test_lists_have_several_values_and_objects_dotted_names() -> None:
    metadata = {"tags": ["a", ["b", None]], "size": {"eu": 42, "us": [9, 9.5]}, "none": None, "parts": [{"n": 1}]}
    assert list(fields_of(metadata)) == [
        ("tags", "a"), ("tags", "b"), ("size.eu", 42), ("size.us", 9), ("size.us", 9.5), ("parts.n", 1),
    ]  # fmt: skip


@given(st.dictionaries(st.text(st.characters(codec=None), max_size=4), plain, max_size=4))
def test_whatever_a_record_holds_has_values_that_sqlite_takes(metadata: dict[str, object]) -> None:
    for name, each in fields_of(metadata):
        kind, value, text = value_of(each)
        for said in (name, text, *([value] if isinstance(value, str) else [])):
            said.encode()
            assert "\0" not in said
        assert isinstance(value, str) == (kind != Kind.NUMBER)


@given(st.text(st.characters(codec=None)))
def test_folding_twice_changes_nothing_and_case_does_not_matter(text: str) -> None:
    assert fold(fold(text)) == fold(fold(fold(text)))
    json.dumps(clean(text), ensure_ascii=False).encode()
