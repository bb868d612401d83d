"""Typed columns of metadata: what fits is there, what does not is null, and a change of fields costs no pixel."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.stages import looks as looks_module
from embeddings_dagster.stages import settling as settling_module
from embeddings_dagster.stages.discover import survey
from embeddings_dagster.stages.fields import typed
from embeddings_dagster.stages.preview_read import preview_source
from embeddings_dagster.stages.status import batch_statuses
from embeddings_dagster.store import tables
from embeddings_dagster_tests.stages.json_source import NAME, item
from embeddings_dagster_tests.stages.shop_project import Shop, make_shop

FIELDS = {"brand": "text", "price": "number", "stock": "integer", "sold": "boolean", "seen": "time"}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("text", "Ä", "Ä"), ("text", 12, "12"), ("text", True, "true"), ("text", ["a"], None), ("text", None, None),
        ("text", "half \ud800", "half ?"),
        ("number", "12.50", 12.5), ("number", 3, 3.0), ("number", "$1,234.56", 1234.56), ("number", "nan", None),
        ("number", float("inf"), None), ("number", True, None), ("number", {}, None), ("number", 10**400, None),
        ("integer", 7, 7), ("integer", "7", 7), ("integer", 7.0, 7), ("integer", 7.5, None), ("integer", 2**63, None),
        ("integer", 2**63 - 1, 2**63 - 1), ("integer", False, None), ("integer", "1e30", None),
        ("boolean", False, False), ("boolean", "Yes", True), ("boolean", 0, False), ("boolean", 2, None),
        ("boolean", 1.0, None),
        ("time", "2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)), ("time", "yesterday", None), ("time", [], None),
        ("time", "2026-01-02T03:00:00+02:00", datetime(2026, 1, 2, 1, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_a_value_is_what_its_type_says_or_null(kind: str, value: object, expected: object) -> None:
    assert typed(value, kind) == expected


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@given(PLAIN, st.sampled_from(sorted(FIELDS.items())))
def test_whatever_a_stranger_writes_fits_its_column(value: object, field: tuple[str, str]) -> None:
    name, kind = field
    column = tables.raw({name: kind}).schema.field(f"meta_{name}")
    pa.array([typed(value, kind)], column.type).validate(full=True)


def test_the_table_has_a_column_for_each_field() -> None:
    table = tables.raw(FIELDS)
    assert table.schema.names[len(tables.RAW.schema.names) :] == [
        "meta_brand", "meta_price", "meta_seen", "meta_sold", "meta_stock"
    ]  # fmt: skip
    assert table.identity[-5:] == tuple(table.schema.names[-5:])
    assert tables.raw({}) == tables.RAW


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    for module in (looks_module, settling_module):
        monkeypatch.setattr(module, "APART", timedelta(0))
    shop = make_shop(tmp_path, monkeypatch)
    shop.pile.paint("one", "a.png", "b.png")
    shop.pile.batch("one", item("a", metadata={"price": "12.5", "stock": "many"}), item("b"))
    shop.discover()
    return shop


def test_a_row_has_its_fields_and_keeps_what_does_not_fit(shop: Shop) -> None:
    shop = shop.with_settings(fields=FIELDS)
    shop.raw("one")
    rows = shop.rows("raw_images", "one")
    assert [rows["shop:a"][f"meta_{name}"] for name in FIELDS] == [None, 12.5, None, None, None]
    assert rows["shop:a"]["metadata"] == '{"price": "12.5", "stock": "many"}'
    assert rows["shop:b"]["meta_price"] is None


def test_a_change_of_fields_makes_rows_anew_and_no_pixel(shop: Shop) -> None:
    shop.raw("one")
    made = shop.rgb("one")
    for fields in (FIELDS, {"price": "text"}, {}):
        changed = shop.with_settings(fields=fields)
        [status] = batch_statuses(changed.store, changed.context.settings, {}, NAME)
        assert status.stages[0].state == "stale"
        assert "fields" in status.stages[0].why
        account = changed.raw("one")
        assert (account.processed, account.skipped) == (2, 0)
        again = changed.rgb("one")
        assert (again.processed, again.content) == (0, made.content)
        [status] = batch_statuses(changed.store, changed.context.settings, {}, NAME)
        assert status.current
        assert changed.raw("one").processed == 0
    forgotten = shop.with_settings()
    forgotten.context.settings.sources.clear()
    [status] = batch_statuses(forgotten.store, forgotten.context.settings, {}, NAME)
    assert status.current, "nobody asks for columns of a source that is forgotten"


def test_a_preview_knows_of_a_change_of_fields(shop: Shop) -> None:
    shop.raw("one")
    shop.rgb("one")
    changed = shop.with_settings(fields=FIELDS)
    [preview] = preview_source(changed.context, {}, NAME, survey(changed.context, NAME))
    assert [(stage.stage, stage.changed) for stage in preview.stages] == [("raw_images", 2), ("rgb_images", 2)]
    [preview] = preview_source(shop.context, {}, NAME, survey(shop.context, NAME))
    assert not preview.todo


# ---- parts of several times in one chain

OLD_REGION = pa.struct([("region", pa.int16()), ("box", tables.BOX), ("text", pa.string())])


def old_table() -> tables.Table:
    """`raw_images` as it was before regions had problems."""
    schema = tables.RAW.schema
    place = schema.get_field_index("regions")
    return tables.Table("raw_images", schema.set(place, pa.field("regions", pa.list_(OLD_REGION))), tables.RAW.identity)


def row(name: str, **more: object) -> dict[str, object]:
    region = {"region": 0, "box": None, "text": name}
    return {"image_id": f"shop:{name}", "input_hash": name, "metadata": "{}", "regions": [region], **more}


def commit(shop: Shop, table: tables.Table, *rows: dict[str, object], drop: object = ()) -> str:
    writer = shop.chain("raw_images", "one").writer(table, run_id="run", label={})
    writer.drop([key for key in writer.present() if key.image_id in set(drop)])
    for each in rows:
        writer.add([each])
    kept = [key for key in writer.present() if key.image_id not in set(drop)]
    return writer.finish(inputs={}, total=len(kept) + len(rows)).content


def test_a_chain_with_parts_of_before_and_after_is_read_as_one(shop: Shop) -> None:
    commit(shop, old_table(), row("a"), row("b"))
    new = tables.raw(FIELDS)
    commit(shop, new, row("c", meta_price=2.5))
    rows = shop.rows("raw_images", "one")
    assert {name: each["meta_price"] for name, each in rows.items()} == {"shop:a": None, "shop:b": None, "shop:c": 2.5}
    assert [each["regions"][0].get("problem", "missing") for each in rows.values()] == [None, None, None]
    chain = shop.chain("raw_images", "one")
    parts = chain.rows(chain.latest(), ("image_id", "regions")).to_pylist()
    assert [each["regions"][0]["text"] for each in parts] == ["a", "b", "c"]


def test_folding_parts_of_before_and_after_changes_no_content(shop: Shop) -> None:
    commit(shop, old_table(), row("a"), row("b"), row("c"))
    new = tables.raw(FIELDS)
    before = commit(shop, new, row("d", meta_price=1.0))
    for n in range(9):  # more than eight small parts are folded
        commit(shop, new, row(f"n{n}"))
    chain = shop.chain("raw_images", "one")
    assert len(chain.latest().parts) < 9
    after = commit(shop, new, drop=[f"shop:n{n}" for n in range(9)])
    assert after == before
    assert shop.rows("raw_images", "one")["shop:a"]["meta_price"] is None
