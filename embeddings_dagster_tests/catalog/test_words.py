"""Words, phrases, beginnings and what must not occur; whatever is typed, FTS5 sees no syntax but ours."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embeddings_dagster.catalog import Filter, Snapshot
from embeddings_dagster.errors import BadQuery
from embeddings_dagster_tests.catalog.helpers import ids, picture, snapshot_of

NASTY = "\"()*-+^:{}[]<>=~|&;/\\'%_,.\0\ue000 \n\tAND OR NOT NEAR title text words ä日"


@pytest.fixture(scope="module")
def shop() -> Iterator[Snapshot]:
    with tempfile.TemporaryDirectory() as folder:
        pictures = (
            picture("shop:1", {"title": "Red jacket", "brand": "Acme", "care": "wash cold"}),
            picture("shop:2", {"title": "Jacket, red-brown", "brand": "Foo", "description": "a jacket of leather"}),
            picture("shop:3", {"title": "Café au lait", "tags": ["Brand", "new"]}),
            picture("book:4", {"name": "Page"}, text="the end", panels=["Hello there", "General!", None]),
            picture("shop:5", {"title": "T-shirt 100%", "brand": "NOT"}),
        )
        with snapshot_of(Path(folder), *pictures) as snapshot:
            yield snapshot


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("jacket", {"shop:1", "shop:2"}),
        ("RED jacket", {"shop:1", "shop:2"}),
        ('"red jacket"', {"shop:1"}),
        ('"red jacket', {"shop:1"}),
        ("jack*", {"shop:1", "shop:2"}),
        ("jacke", set()),
        ("jacket -leather", {"shop:1"}),
        ('jacket -"red brown"', {"shop:1"}),
        ("-jacket -page -there -general", {"shop:3", "shop:5", "book:4/3"}),
        ("cafe", {"shop:3"}),
        ("CAFÉ", {"shop:3"}),
        ("t-shirt", {"shop:5"}),
        ("not", {"shop:5"}),
        ("acme OR foo", set()),
        ("title:jacket", set()),
        ("hello", {"book:4", "book:4/1"}),
        ("hello general", {"book:4"}),
        ("page hello", {"book:4"}),
        ("end", {"book:4"}),
        ("acme (wash)", {"shop:1"}),
    ],
)
def test_words_find_what_they_say(shop: Snapshot, text: str, found: set[str]) -> None:
    assert set(ids(shop.find(Filter(text=text)))) == found
    assert shop.count(Filter(text=text)) == len(found)
    assert {key.image_id for key in shop.keys(Filter(text=text))} == {each.split("/")[0] for each in found}


def test_no_phrase_spans_two_fields(shop: Snapshot) -> None:
    assert ids(shop.find(Filter(text='"acme wash"'))) == []
    assert ids(shop.find(Filter(text='"brand new"'))) == []
    assert ids(shop.find(Filter(text='"there general"'))) == []


def test_the_title_weighs_most(shop: Snapshot) -> None:
    hits = shop.find(Filter(text="jacket"))
    assert ids(hits) == ["shop:1", "shop:2"]
    assert hits[0].score is not None
    assert hits[0].score >= (hits[1].score or 0)
    assert ids(shop.find(Filter(text="hello"))) == ["book:4/1", "book:4"], "the panel that says it, then its page"


@pytest.mark.parametrize("text", ["", "   ", "!!!", '""', "-", "*", "-*", "(", "\0"])
def test_a_text_without_a_word_is_refused(shop: Snapshot, text: str) -> None:
    with pytest.raises(BadQuery, match="no word to search for"):
        shop.find(Filter(text=text))


def test_too_much_is_refused(shop: Snapshot) -> None:
    with pytest.raises(BadQuery, match="at most 100"):
        shop.find(Filter(text="word " * 101))
    with pytest.raises(BadQuery, match="at most 10,000"):
        shop.find(Filter(text="w" * 10_001))
    assert shop.find(Filter(text="word " * 100)) == []


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from(NASTY) | st.characters(codec=None), max_size=40))
@example('"a" AND')
@example("NEAR(a b, 3)")
@example('a" OR rowid > 0 --')
@example("\ud800a")
@example("a\0b")
@example("\u0378\u0379")
def test_no_text_breaks_the_query_language(shop: Snapshot, text: str) -> None:
    try:
        found = shop.find(Filter(text=text))
    except BadQuery:
        return
    assert shop.count(Filter(text=text)) == len(found)
    shop.facets("brand", Filter(text=text))
