"""The mini-language, to the last sign; what is not of it is refused with a reason, and nothing else happens."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embeddings_dagster.catalog.conditions import Condition, parse_condition
from embeddings_dagster.errors import BadQuery

GOOD = {
    "brand=Acme": ("brand", "=", ("Acme",)),
    " brand == Acme & Sons ": ("brand", "=", ("Acme & Sons",)),
    "brand != Acme": ("brand", "!=", ("Acme",)),
    "price<=20": ("price", "<=", ("20",)),
    "price>-3.5": ("price", ">", ("-3.5",)),
    "price=10..20": ("price", "..", ("10", "20")),
    "price = 10 .. 20": ("price", "..", ("10", "20")),
    "price=..20": ("price", "..", (None, "20")),
    "seen=2026-01..": ("seen", "..", ("2026-01", None)),
    "brand in Acme,Foo": ("brand", "in", ("Acme", "Foo")),
    "brand IN Acme, Foo Bar": ("brand", "in", ("Acme", "Foo Bar")),
    'brand in "Foo, Inc",Acme': ("brand", "in", ("Foo, Inc", "Acme")),
    "title~shirt": ("title", "~", ("shirt",)),
    "title !~ shirt": ("title", "!~", ("shirt",)),
    "size=": ("size", "missing", ()),
    "size!=": ("size", "present", ()),
    'size=""': ("size", "=", ("",)),
    'note="10..20"': ("note", "=", ("10..20",)),
    "note='it''": ("note", "=", ("'it''",)),
    r'note="a \"b\" \\ c"': ("note", "=", (r'a "b" \ c',)),
    '"made in"=Italy': ("made in", "=", ("Italy",)),
    "in stock=true": ("in stock", "=", ("true",)),
    "size.eu=42": ("size.eu", "=", ("42",)),
    "url=https://example.org/?a=b": ("url", "=", ("https://example.org/?a=b",)),
    "größe=ä": ("größe", "=", ("ä",)),
}
BAD = {
    "": "is no condition",
    "brand": "is no condition",
    "=Acme": "is no condition",
    '""=Acme': "is no condition",
    "price<": "with nothing",
    "title~": "with nothing",
    "brand in": "is no condition",
    "brand in ": "is no condition",
    "brand in Acme,": "a value of the list is empty",
    "brand in Acme,,Foo": "a value of the list is empty",
    'brand in "Acme': "is no list",
    "price=..": "a range is",
    "price=1..2..3": "a range is",
    "a" * 3000 + "=1": "too long",
}


@pytest.mark.parametrize("text", GOOD)
def test_a_condition_is_read_as_it_is_meant(text: str) -> None:
    assert parse_condition(text) == Condition(*GOOD[text])


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_condition_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(BadQuery, match=BAD[text]):
        parse_condition(text)


@given(st.text(st.characters(codec=None) | st.sampled_from("=<>!~.,'\"\\ in"), max_size=60))
@example("a" + " " * 1900)
@example("a in " + "x, " * 600 + "'")
def test_any_text_is_a_condition_or_a_bad_query(text: str) -> None:
    try:
        condition = parse_condition(text)
    except BadQuery:
        return
    assert condition.field


@given(st.text(min_size=1, max_size=30), st.text(max_size=30))
def test_what_is_quoted_comes_back_as_it_was(name: str, value: str) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    assert parse_condition(f"{quoted(name)}={quoted(value)}") == Condition(name, "=", (value,))
