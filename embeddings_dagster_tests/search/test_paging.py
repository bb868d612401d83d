"""Cursors: what was written is read again, and whatever else is handed in is refused."""

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.errors import BadQuery
from embeddings_dagster.ids import Key
from embeddings_dagster.search.paging import Answered, Cursor, parse_cursor

CURSOR = Cursor("q" * 16, (Answered("clip", "0123456789ab", 7),), None, 11, 10, Key("art:ünï/♥ %0A.png", 3))


@given(
    st.text("0123456789abcdef", min_size=1),
    st.lists(st.builds(Answered, st.text(min_size=1), st.text(min_size=1), st.integers(1, 10**9)), max_size=3),
    st.none() | st.integers(1, 10**9),
    st.integers(1, 10_001),
    st.integers(1, 10_000),
    st.builds(Key, st.text(), st.integers(0, 32767)),
)
def test_a_cursor_is_read_as_it_was_written(
    question: str, answered: list[Answered], catalogue: int | None, first: int, seen: int, last: Key
) -> None:
    cursor = Cursor(question, tuple(answered), catalogue, first, seen, last)
    text = str(cursor)
    assert parse_cursor(text) == cursor
    assert text.isascii()
    assert set("+/=% ").isdisjoint(text)


@pytest.mark.parametrize("text", ["", "x", "♥", "a" * 60_000, str(CURSOR)[:-3], str(CURSOR) + "AAAA", "QUJD" * 9])
def test_what_no_search_gave_is_refused(text: str) -> None:
    with pytest.raises(BadQuery, match="ask from the first page"):
        parse_cursor(text)


def test_a_changed_letter_is_noticed() -> None:
    text = str(CURSOR)
    for place in range(len(text) - 1):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(BadQuery):
            parse_cursor(changed)


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 5), (1, [["clip", "fp", "7"]]), (1, [["clip", "fp"]]), (1, 3), (2, -1), (2, True), (3, 0), (3, 10**9),
     (4, -5), (4, 1.5), (5, ["art:a"]), (5, [1, 2]), (5, ["art:a", "x"]), (5, None)],
)  # fmt: skip
def test_one_that_somebody_made_up_is_refused(place: int, value: object) -> None:
    values: list[object] = ["q", [["clip", "fp", 7]], None, 11, 10, ["art:a", 0]]
    values[place] = value
    body = json.dumps(values).encode()
    check = hashlib.sha256(body).hexdigest()[:8].encode()
    with pytest.raises(BadQuery):
        parse_cursor(base64.urlsafe_b64encode(check + body).decode().rstrip("="))
