import json
from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.store.content import content_of, row_digests
from embeddings_dagster.store.tables import RAW, RGB

RAW_ROW = {
    "image_id": "art:1.png",
    "input_hash": "h",
    "item_id": "1",
    "ordinal": 0,
    "regions": [{"region": 1, "box": {"x": 1, "y": 2, "w": 3, "h": 4}, "text": "Hi"}],
    "scraped_at": datetime(2026, 1, 2, tzinfo=UTC),
    "metadata": json.dumps({"price": 3}),
    "run_id": "first",
}


def content(table: pa.Table, identity: tuple[str, ...] = ("image_id", "input_hash")) -> str:
    return content_of(row_digests(table, identity))


@given(st.permutations(range(6)), st.integers(0, 6))
def test_content_is_the_same_in_any_order_and_any_parts(order: list[int], cut: int) -> None:
    rows = [{"image_id": f"art:{number}", "input_hash": "h", "region": 0} for number in range(6)]
    table = pa.Table.from_pylist(rows)
    shuffled = table.take(order)
    digests = [
        digest
        for part in (shuffled.slice(0, cut), shuffled.slice(cut))
        for digest in row_digests(part, ("image_id", "input_hash"))
    ]
    assert content_of(digests) == content(table)


def test_content_differs_with_any_identity_column() -> None:
    before = content(pa.Table.from_pylist([RAW_ROW], RAW.schema), RAW.identity)
    for column, value in [
        ("image_id", "art:2.png"),
        ("ordinal", 1),
        ("regions", []),
        ("scraped_at", None),
        ("metadata", "{}"),
    ]:
        changed = pa.Table.from_pylist([{**RAW_ROW, column: value}], RAW.schema)
        assert content(changed, RAW.identity) != before, column


def test_content_ignores_what_is_not_identity() -> None:
    before = content(pa.Table.from_pylist([RAW_ROW], RAW.schema), RAW.identity)
    changed = pa.Table.from_pylist([{**RAW_ROW, "run_id": "second", "input_hash": "other"}], RAW.schema)
    assert content(changed, RAW.identity) == before


def test_values_do_not_run_into_each_other() -> None:
    one = pa.Table.from_pylist([{"image_id": "a", "input_hash": "bc"}])
    other = pa.Table.from_pylist([{"image_id": "ab", "input_hash": "c"}])
    assert content(one) != content(other)


def test_repeated_rows_count() -> None:
    row = {"image_id": "a", "input_hash": "b"}
    assert content(pa.Table.from_pylist([row])) != content(pa.Table.from_pylist([row, row]))


def test_a_column_that_an_older_part_lacks_counts_as_null() -> None:
    row = {"image_id": "a", "region": 0, "input_hash": "b"}
    old = pa.Table.from_pylist([row])
    new = pa.Table.from_pylist([row], RGB.schema)
    assert content(old, RGB.identity) == content(new, RGB.identity)
