"""Filters mean what they say: compared with a reader of records in plain Python, and with whatever strangers type."""

import operator
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster.catalog import PARTS, WHOLE, Condition, Filter, Snapshot
from embeddings_dagster.errors import BadQuery
from embeddings_dagster_tests.catalog.helpers import NOON, ids, picture, snapshot_of

RECORDS: dict[str, dict[str, Any]] = {
    "shop:1": {"brand": "Acme", "price": 19.99, "size": "M", "title": "Red shirt", "seen": "2026-01-02"},
    "shop:2": {"brand": "ACME", "price": 20, "size": "42", "title": "Blue Shirt", "seen": "2026-01-02T18:00:00Z"},
    "shop:3": {"brand": "Foo, Inc", "price": "100", "size": "042", "stock": True, "seen": "2026-02-01"},
    "shop:4": {"brand": "Straße", "price": "n/a", "tags": ["new", "Sale", 7], "note": "x" * 300 + " End"},
    "shop:5": {"size": "", "tags": ["sale"], "made in": "Italy", "a.b": 1, "note": "short END"},
    "shop:6": {"a": {"b": 2}, "price": 1e-9, "we\"ird'); drop table images; --": "yes", "width": 9},
    "shop:7": {"code": "1234567890123456", "price": None, "year": 2026},
    "shop:8": {"code": "1234567890123457", "year": "2025", "TAGS": "upper"},
}


@pytest.fixture(scope="module")
def shop() -> Iterator[Snapshot]:
    with tempfile.TemporaryDirectory() as folder:
        pictures = (picture(image_id, metadata) for image_id, metadata in RECORDS.items())
        with snapshot_of(Path(folder), *pictures) as snapshot:
            yield snapshot


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("brand=acme", "12"),
        ("brand!=Acme", "345678"),
        ("brand=STRASSE", "4"),
        ("brand in Acme,'Foo, Inc'", "123"),
        ("price<=20", "126"),
        ("price<20", "16"),
        ("price>20", "3"),
        ("price=20.0", "2"),
        ("price=10..20", "12"),
        ("price=10..", "123"),
        ("price=..1", "6"),
        ("price=n/a", "4"),
        ("price=", "578"),
        ("price!=", "12346"),
        ("size=42", "2"),
        ("size=042", "3"),
        ("size=", "4678"),
        ('size=""', "5"),
        ("title~SHIRT", "12"),
        ("title!~red", "2345678"),
        ("price~9", "16"),
        ("note~end", "45"),
        ("note!~end", "123678"),
        ("seen=2026-01-02", "12"),
        ("seen=2026-01", "12"),
        ("seen>2026-01-02", "3"),
        ("seen>=2026-01-02T12:00:00", "23"),
        ("seen<2026-02", "12"),
        ("seen=2026-01-02..2026-02-01", "123"),
        ("seen in 2026-02-01,2025", "3"),
        ("tags=sale", "45"),
        ("tags!=new", "1235678"),
        ("tags>5", "4"),
        ("TAGS=upper", "8"),
        ("stock=TRUE", "3"),
        ('"made in"~ital', "5"),
        ("a.b<2", "5"),
        ("a.b>=1", "56"),
        ("code=1234567890123456", "7"),
        ("code>1234567890123456", "8"),
        ("year=2026", "7"),
        ("year>=2025", "78"),
        ("width=40", "12345678"),
        ("width>40", ""),
        ("metadata.width=9", "6"),
        ("BRAND=acme", "12"),
        ("image_id=SHOP:3", "3"),
        ("location~3.PNG", "3"),
        ("item_id in 1,2", "12"),
        ("source=shop", "12345678"),
        ("batch=shop__1", "12345678"),
        ("batch=SHOP__1", ""),
        ("scraped_at=", "12345678"),
        ("text=", "12345678"),
        ("region=0", "12345678"),
    ],
)
def test_a_condition_finds_what_it_says(shop: Snapshot, where: str, found: str) -> None:
    wanted = Filter([where])
    assert ids(shop.find(wanted)) == [f"shop:{each}" for each in found]
    assert shop.count(wanted) == len(found)
    assert ids(shop.keys(wanted)) == [f"shop:{each}" for each in found]


def test_conditions_hold_together(shop: Snapshot) -> None:
    assert ids(shop.find(Filter(["brand=acme", "price<20"]))) == ["shop:1"]
    assert ids(shop.find(Filter(["brand=acme", Condition("size", "=", ("42",))], text="blue"))) == ["shop:2"]
    assert shop.find(Filter(sources=["other"])) == []
    assert shop.find(Filter(batches=["shop__2", "shop__3"])) == []


def test_an_odd_name_is_a_name_and_nothing_else(shop: Snapshot) -> None:
    odd = Condition("we\"ird'); drop table images; --", "=", ("YES",))
    assert ids(shop.find(Filter([odd]))) == ["shop:6"]
    assert shop.count() == len(RECORDS)


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("brnd=Acme", "no field 'brnd'; did you mean 'brand'?"),
        ("Prise<3", "did you mean 'price'"),
        ("zzzzzz=1", "there are .*brand"),
        ("Tags=new", "did you mean 'TAGS' or 'tags'|did you mean 'tags' or 'TAGS'"),
        ("year<soon", "year holds numbers, and 'soon' cannot be compared"),
        ("width>=wide", "width holds numbers"),
        ("scraped_at>yesterday", "scraped_at holds dates"),
    ],
)
def test_a_condition_that_makes_no_sense_names_its_field(shop: Snapshot, where: str, reason: str) -> None:
    with pytest.raises(BadQuery, match=reason):
        shop.find(Filter([where]))


@pytest.mark.parametrize(
    "condition",
    [
        Condition("brand", "like", ("a",)), Condition("brand", "=", ()), Condition("brand", "=", ("a", "b")),
        Condition("brand", "in", ()), Condition("brand", "in", ("a",) * 10_001), Condition("brand", "~", (None,)),
    ],
)  # fmt: skip
def test_a_condition_made_by_hand_is_checked_too(shop: Snapshot, condition: Condition) -> None:
    with pytest.raises(BadQuery, match="brand"):
        shop.count(Filter([condition]))
    with pytest.raises(BadQuery, match="too many"):
        shop.count(Filter(["brand=a"] * 101))


def test_the_largest_list_that_is_taken_is_taken(shop: Snapshot) -> None:
    dates = tuple(f"2026-{month:02d}-{day:02d}" for month in range(1, 9) for day in range(1, 26))
    assert shop.count(Filter([Condition("seen", "in", dates)] * 3)) == 3
    with pytest.raises(BadQuery, match="at most 200 dates"):
        shop.count(Filter([Condition("seen", "in", (*dates, "2027"))]))
    assert shop.count(Filter([Condition("brand", "in", ("nobody",) * 9_999 + ("Acme",))])) == 2
    assert shop.count(Filter(["brand!=nobody"] * 100)) == len(RECORDS)


def test_regions_moments_and_texts_are_fields_of_every_row(tmp_path: Path) -> None:
    pages = (
        picture("book:p", {"title": "Page"}, text="Narration", panels=["Hello Ärger", None], scraped_at=NOON),
        picture("book:q", {"title": "Other"}, batch="book__2"),
    )
    with snapshot_of(tmp_path, *pages) as snapshot:
        every = ["book:p", "book:p/1", "book:p/2", "book:q"]
        assert ids(snapshot.find()) == every
        assert ids(snapshot.find(Filter(regions=WHOLE))) == ["book:p", "book:q"]
        assert ids(snapshot.find(Filter(regions=PARTS))) == every[1:3]
        assert ids(snapshot.find(Filter(["region>0"]))) == every[1:3]
        assert ids(snapshot.find(Filter(["text~ärger"]))) == every[1:2]
        assert ids(snapshot.find(Filter(["text="]))) == every[2:]
        assert ids(snapshot.find(Filter(["text!="]))) == every[:2]
        assert ids(snapshot.find(Filter(["scraped_at=2026-01-02"]))) == every[:3]
        assert ids(snapshot.find(Filter(["scraped_at>2026-01-02"]))) == []
        assert ids(snapshot.find(Filter(["title=page"]))) == every[:3], "what is said of a page holds for its panels"
        assert ids(snapshot.find(Filter(batches=["book__2"]))) == every[3:]
        with pytest.raises(BadQuery, match="regions 'some'"):
            snapshot.find(Filter(regions="some"))  # type: ignore[arg-type]


numbers = st.integers(-20, 20) | st.sampled_from([0.5, 2.5, -0.5])
texts = st.sampled_from(["", "a", "A", "ab", "B", "ba", "7", "07", "x y"])
metadata = st.dictionaries(
    st.sampled_from(["n", "t", "m"]), numbers | texts | st.lists(numbers | texts, max_size=2) | st.none(), max_size=3
)
ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def values(record: Mapping[str, Any], name: str) -> list[float | str]:
    """The values of a field as they compare."""
    said = record.get(name)
    listed = said if isinstance(said, list) else [] if said is None else [said]
    return [float(each) if str(each) == "7" or not isinstance(each, str) else each.lower() for each in listed]


def holds(condition: Condition, record: Mapping[str, Any], numeric: bool) -> bool:
    said, (asked,) = values(record, condition.field), condition.values
    assert asked is not None
    number = float(asked) if asked.lstrip("-").replace(".", "", 1).isdecimal() and asked != "07" else None
    if condition.operator in ORDERS:
        compare, other = ORDERS[condition.operator], number if number is not None and numeric else asked.lower()
        return any(compare(each, other) for each in said if isinstance(each, float) == isinstance(other, float))
    equal = any(each in (number, asked.lower()) for each in said)
    return equal if condition.operator == "=" else not equal


@settings(deadline=None, max_examples=120)
@given(
    st.lists(metadata, min_size=1, max_size=6),
    st.sampled_from(["n", "t", "m"]),
    st.sampled_from([*ORDERS, "=", "!="]),
    st.sampled_from(["7", "07", "a", "AB", "-3", "2.5", "", "0"]),
)
def test_every_filter_is_what_a_reader_of_records_would_do(
    records: list[dict[str, Any]], name: str, sign: str, asked: str
) -> None:
    condition = Condition(name, sign, (asked,))
    with tempfile.TemporaryDirectory() as folder:
        pictures = [picture(f"s:{number}", record) for number, record in enumerate(records)]
        with snapshot_of(Path(folder), *pictures) as snapshot:
            every = [each for record in records for each in values(record, name)]
            numeric = any(isinstance(each, float) for each in every)
            words = all(isinstance(each, float) for each in every) and sign in ORDERS and asked in ("07", "a", "AB", "")
            if not every or words:
                with pytest.raises(BadQuery, match=f"no field '{name}'|{name} holds numbers"):
                    snapshot.find(Filter([condition]))
                return
            found = ids(snapshot.find(Filter([condition])))
            expected = [f"s:{number}" for number, record in enumerate(records) if holds(condition, record, numeric)]
            assert found == expected


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(["brand", "price", "seen", "note", "text", "width", "scraped_at", "tags", "image_id"]),
    st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~", "!~", " in "]),
    st.text(st.characters(codec=None) | st.sampled_from("'\";-%_*,.\\\0"), max_size=30),
)
def test_no_value_raises_anything_but_a_bad_query(shop: Snapshot, name: str, sign: str, value: str) -> None:
    wanted = Filter([f"{name}{sign}{value}"])
    try:
        count = shop.count(wanted)
    except BadQuery:
        return
    assert count == len(shop.find(wanted))
    assert shop.count() == len(RECORDS)
