import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.sources import Record
from embeddings_dagster.sources.problems import Notes, Problems
from embeddings_dagster.sources.scraped.items import ItemRecords

JANUARY, FEBRUARY = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
REQUIRED = {"item_id": 1, "title": "A", "url": "u"}


def made(item: dict[str, Any], category: object = None) -> tuple[Record, list[str]]:
    notes, problems = Notes(), Problems()
    record = ItemRecords(category, JANUARY, notes).record(item, "item 1")
    notes.tell("b", problems)
    return record, [problem.reason for problem in problems.told()]


def metadata(**item: Any) -> dict[str, Any]:
    """Of a sound item, without what every item has."""
    record, reasons = made(REQUIRED | item)
    assert reasons == []
    return {key: value for key, value in record.metadata.items() if key not in ("title", "url")}


def test_a_whole_item_becomes_metadata_of_known_types() -> None:
    item = {
        "item_id": "7",
        "title": " Jacket ",
        "price": "12,50 €",
        "url": "https://shop.example/7",
        "description": "Red.\nWarm.",
        "brand": "Foo",
        "size": 42,
        "condition": "new",
        "seller_id": 99.0,
        "category": "jackets",
        "image_urls": ["https://img.example/7/0.jpg", None, ""],
        "scraped_at": "2024-02-01T00:00:00Z",
        "local_image_paths": ["images/7/0.jpg"],
        "likes": 3,
        "tags": ["warm", {"a": None}],
    }
    record, reasons = made(item, category="coats")
    assert reasons == []
    assert record.metadata == {
        "title": "Jacket",
        "price": 12.5,
        "currency": "EUR",
        "url": "https://shop.example/7",
        "description": "Red.\nWarm.",
        "brand": "Foo",
        "size": "42",
        "condition": "new",
        "seller_id": "99",
        "category": "jackets",
        "image_urls": ["https://img.example/7/0.jpg"],
        "likes": 3,
        "tags": ["warm", {"a": None}],
    }
    assert isinstance(record.metadata["price"], float)
    assert record.scraped_at == FEBRUARY
    assert record.fault is None


@pytest.mark.parametrize(
    ("price", "found"),
    [
        ({"amount": "12.50", "currency_code": "PLN"}, {"price": 12.5, "currency": "PLN"}),
        ({"value": 7, "currency": "USD"}, {"price": 7.0, "currency": "USD"}),
        ({"amount": "12,50 zł"}, {"price": 12.5, "currency": "PLN"}),
        ({"amount": 3}, {"price": 3.0, "currency": "EUR"}),
        ({"amount": None, "currency_code": "PLN"}, {"currency": "PLN"}),
    ],
)
def test_a_price_may_be_an_object_of_amount_and_currency(price: object, found: dict[str, object]) -> None:
    assert metadata(price=price) == found
    assert metadata(price=price, currency="GBP") == found | {"currency": "GBP"}


def test_a_price_that_is_another_object_is_left_out_and_told() -> None:
    record, reasons = made(REQUIRED | {"price": {"min": 1, "max": 2}})
    assert "price" not in record.metadata
    assert reasons == ["item 1: price: a dict is no number; taken without"]


@pytest.mark.parametrize("nothing", [None, "", "  ", "nan", "NaN", "None", "null", math.nan])
def test_what_is_missing_is_absent(nothing: object) -> None:
    keys = ("description", "brand", "price", "currency", "image_urls", "category", "scraped_at")
    assert metadata(**dict.fromkeys(keys, nothing)) == {}
    assert metadata(more=None, other="") == {}


@pytest.mark.parametrize(
    ("item", "currency"),
    [
        ({"price": 5}, "EUR"),
        ({"price": "5", "currency": "SEK"}, "SEK"),
        ({"price": "$5"}, "USD"),
        ({"price": "$5", "currency": "CAD"}, "CAD"),
        ({"price": "5 kr"}, "SEK"),
        ({"price": "5 moons"}, None),
        ({"price": None}, None),
        ({"currency": "SEK"}, "SEK"),
    ],
)
def test_a_currency_is_assumed_only_where_there_is_a_price_that_names_none(
    item: dict[str, Any], currency: str | None
) -> None:
    assert made(REQUIRED | item)[0].metadata.get("currency") == currency


@pytest.mark.parametrize(
    ("price", "told"),
    [
        (-1, "-1 is below 0"),
        ("cheap", "'cheap' is no number"),
        ([5], "a list is no number"),
        (math.inf, "inf is no finite number"),
        (True, "True is no number"),
    ],
)
def test_a_price_that_makes_no_sense_costs_the_price_only(price: object, told: str) -> None:
    record, reasons = made(REQUIRED | {"price": price})
    assert record.metadata == {"title": "A", "url": "u"}
    assert record.fault is None
    assert reasons == [f"item 1: price: {told}; taken without"]


def test_the_category_of_the_batch_is_that_of_its_items() -> None:
    assert made(REQUIRED, category="coats")[0].metadata["category"] == "coats"
    assert made(REQUIRED | {"category": ""}, category="coats")[0].metadata["category"] == "coats"
    assert "category" not in made(REQUIRED, category=[])[0].metadata


def test_the_time_of_the_batch_is_that_of_its_items() -> None:
    assert made(REQUIRED)[0].scraped_at == JANUARY
    record, reasons = made(REQUIRED | {"scraped_at": "soon"})
    assert record.scraped_at == JANUARY
    assert reasons == ["item 1: scraped_at: 'soon' is no time; that of its batch is taken"]


def test_a_missing_title_or_url_is_told_and_costs_nothing() -> None:
    record, reasons = made({"item_id": 1, "brand": "Foo"})
    assert record.metadata == {"brand": "Foo"}
    assert reasons == ["item 1: has no title; taken without", "item 1: has no url; taken without"]


@pytest.mark.parametrize(
    ("value", "kind"), [(["a"], "a list"), ({"name": "Foo"}, "an object"), (True, "true or false")]
)
def test_a_text_of_another_type_costs_itself_only(value: object, kind: str) -> None:
    record, reasons = made(REQUIRED | {"brand": value, "size": "M"})
    assert record.metadata == {"title": "A", "url": "u", "size": "M"}
    assert reasons == [f"item 1: brand: {kind} is no text; taken without"]


def test_texts_that_no_store_holds_are_made_so_that_they_do() -> None:
    found = metadata(description="a\0b\ud800c\ud83e\udd8a", more={"k\ud800": "\udc80"})
    assert found == {"description": "ab\ufffdc\N{FOX FACE}", "more": {"k\ufffd": "\ufffd"}}


def test_whole_numbers_beyond_64_bits_are_kept_as_text_and_infinity_is_missing() -> None:
    assert metadata(a=2**63, b=-(2**63), c=[math.inf, 1.5], d=math.inf) == {
        "a": "9223372036854775808",
        "b": -(2**63),
        "c": [None, 1.5],
    }


def test_a_long_text_is_cut_and_told() -> None:
    record, reasons = made(REQUIRED | {"description": "x" * 70_000})
    assert record.metadata["description"] == "x" * 65_536
    assert reasons == ["item 1: description: 70,000 characters; cut to 65,536"]


def test_further_keys_have_bounds_together_and_each_alone() -> None:
    deep: Any = 1
    for _ in range(9):
        deep = [deep]
    record, reasons = made(REQUIRED | {"deep": deep, "a": "x" * 60_000, "b": ["x" * 60_000], "c": 1})
    assert set(record.metadata) == {"title", "url", "a", "c"}
    assert reasons == ["item 1: 'deep': is too large or nested too deeply; taken without (and 1 more alike: item 1)"]


def test_an_id_is_no_metadata_unless_another_one_names_the_item() -> None:
    assert made({"id": 5, "title": "A", "url": "u"})[0].metadata == {"title": "A", "url": "u"}
    assert metadata(id=5) == {"id": 5}


def test_the_order_of_keys_changes_no_digest() -> None:
    item = REQUIRED | {"price": 5, "more": {"a": 1, "b": 2}}
    other = {**dict(reversed(item.items())), "more": {"b": 2, "a": 1}}
    assert made(item)[0].digest() == made(other)[0].digest()


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["title", "price", "image_urls", "scraped_at", "id", "more", ""]) | st.text(max_size=3), ANY
    )
)
def test_any_item_has_a_record_that_every_store_can_hold(item: dict[str, Any]) -> None:
    record, _ = made(item)
    text = json.dumps(record.metadata, allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in text
    assert json.loads(text.encode()) == record.metadata
    assert record.digest() == made(item)[0].digest()
