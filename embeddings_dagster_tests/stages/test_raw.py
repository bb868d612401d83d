"""raw_images with records: what a record says, what of it fails, and that it is the record that was listed."""

import json
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from embeddings_dagster.errors import SourceError, UnknownItem
from embeddings_dagster.stages import looks as looks_module
from embeddings_dagster.stages import settling as settling_module
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.explain import explain
from embeddings_dagster.stages.raw import metadata_json
from embeddings_dagster_tests.stages.json_source import item
from embeddings_dagster_tests.stages.shop_project import Shop, make_shop

XYWH = "xywh"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    for module in (looks_module, settling_module):
        monkeypatch.setattr(module, "APART", timedelta(0))
    return make_shop(tmp_path, monkeypatch)


def panel(*values: float, form: str = XYWH, **more: object) -> dict[str, object]:
    return {"form": form, "values": values, **more}


def failures(shop: Shop, dataset: str, batch: str) -> dict[tuple[str, int], str]:
    chain = shop.chain(dataset, batch)
    return {(f.image_id, f.region): f"{f.error_class}: {f.message}" for f in chain.failures(chain.latest())}


def test_a_row_has_its_record(shop: Shop) -> None:
    metadata = {"title": "Schöne Vase", "price": 12.5, "tags": ["a", "b"], "sold": False}
    shop.pile.paint("one", "a.png")
    shop.pile.batch("one", item("a", metadata=metadata, text="from the page"), scraped_at="2026-01-02T03:04:05+02:00")
    shop.discover()
    assert shop.raw("one").processed == 1
    row = shop.rows("raw_images", "one")["shop:a"]
    assert row["metadata"] == '{"price": 12.5, "sold": false, "tags": ["a", "b"], "title": "Schöne Vase"}'
    assert row["scraped_at"] == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert row["regions"] == [{"region": 0, "box": None, "text": "from the page", "problem": None}]
    assert (row["item_id"], row["batch"], row["location"]) == ("a", "shop__one", "one/a.png")


def test_every_picture_of_an_item_has_its_record_and_a_missing_one_is_a_failure(shop: Shop) -> None:
    shop.pile.paint("one", "0.png", "2.png")
    shop.pile.batch("one", item("a", "0.png", "1.png", "2.png", metadata={"n": 1}), {"id": "none"}, item("c", "0.png"))
    shop.discover()
    account = shop.raw("one")
    assert (account.total, account.processed, account.failed) == (5, 3, 2)
    assert {row["metadata"] for row in shop.rows("raw_images", "one").values()} == {'{"n": 1}', "{}"}
    assert failures(shop, "raw_images", "one") == {
        ("shop:a#1", 0): "ReadFailed: one/1.png: not there",
        ("shop:none", 0): "NoPicture: none: its record names no picture",
    }
    shop.pile.paint("one", "1.png")
    assert shop.discover().changed == 1
    assert shop.raw("one").failed == 1


def test_a_record_that_is_not_the_one_that_was_listed_fails_until_it_is(shop: Shop) -> None:
    shop.pile.paint("one", "a.png", "b.png", "c.png")
    shop.pile.batch("one", item("a", metadata={"price": 1}), item("b"), item("c"))
    shop.discover()
    shop.pile.batch("one", item("a", metadata={"price": 2}), item("c"))
    account = shop.raw("one")
    assert (account.processed, account.failed) == (1, 2)
    assert all(each.retryable for each in account.failures)
    assert failures(shop, "raw_images", "one") == {
        ("shop:a", 0): "RecordChanged: a: its record changed since it was listed; run again to take it",
        ("shop:b", 0): "RecordChanged: b: its record is no longer where it was listed; run again to see what became of "
        "it",
    }
    shop.discover()
    account = shop.raw("one")
    assert (account.total, account.processed, account.failed, account.removed) == (2, 1, 0, 1)
    assert shop.rows("raw_images", "one")["shop:a"]["metadata"] == '{"price": 2}'


def test_records_that_cannot_be_read_cost_the_batch_its_turn_and_nothing_else(shop: Shop) -> None:
    shop.pile.paint("one", "a.png", "b.png")
    shop.pile.batch("one", item("a"))
    shop.discover()
    shop.raw("one")
    shop.pile.batch("one", item("a"), item("b"))
    shop.discover()
    shop.source.broken = True
    with pytest.raises(SourceError, match="records cannot be read"):
        shop.raw("one")
    assert list(shop.rows("raw_images", "one")) == ["shop:a"]
    shop.source.broken = False
    assert (shop.raw("one").processed, shop.raw("one").skipped) == (1, 2)


def test_a_batch_whose_source_left_the_settings_can_be_emptied(shop: Shop) -> None:
    shop.pile.paint("one", "a.png")
    shop.pile.batch("one", item("a"))
    shop.discover()
    shop.raw("one")
    shop.rgb("one")
    homeless = shop.with_settings()
    homeless.context.settings.sources.clear()
    shop.pile.batch("one", item("a", metadata={"n": 1}))
    shop.discover()
    with pytest.raises(UnknownItem, match="no source 'shop' in the settings"):
        homeless.raw("one")
    (shop.pile.root / "one" / "batch.json").unlink()
    shop.discover()
    assert (homeless.raw("one").total, homeless.rgb("one").total) == (0, 0)
    assert (shop.rows("raw_images", "one"), shop.rows("rgb_images", "one")) == ({}, {})


# ---- panels


def test_boxes_are_resolved_against_the_upright_page(shop: Shop) -> None:
    exif = Image.Exif()
    exif[274] = 6
    buffer = BytesIO()
    Image.new("RGB", (200, 100), "red").save(buffer, "JPEG", exif=exif)
    shop.pile.paint("one", "flat.png", size=(200, 100))
    (shop.pile.root / "one" / "turned.jpg").write_bytes(buffer.getvalue())
    halves = [panel(0, 0, 1, 0.5), panel(0.5, 0, 0.6, 1)]
    shop.pile.batch("one", item("flat", panels=halves), item("turned", "turned.jpg", panels=halves))
    shop.discover()
    shop.raw("one")
    rows = shop.rows("raw_images", "one")
    assert [list(each["box"].values()) for each in rows["shop:flat"]["regions"]] == [
        [0, 0, 200, 50],
        [100, 0, 100, 100],
    ]
    assert [list(each["box"].values()) for each in rows["shop:turned"]["regions"]] == [
        [0, 0, 100, 100],
        [50, 0, 50, 200],
    ]
    assert (rows["shop:turned"]["width"], rows["shop:turned"]["height"]) == (200, 100)
    shop.rgb("one")
    made = shop.rows("rgb_images", "one")
    assert (made["shop:turned"]["width"], made["shop:turned"]["height"]) == (100, 200)


def test_a_bad_panel_fails_alone_and_moves_no_other(shop: Shop) -> None:
    shop.pile.paint("one", "page.png", "plain.png", size=(100, 100))
    panels = [
        panel(0, 0, 50, 50, text="first"),
        panel(900, 900, 10, 10, text="far out"),
        panel(fault="its box is the word 'none'"),
        panel(50, 50, 80, 80, text="fourth"),
    ]
    shop.pile.batch("one", item("page", text="Page", panels=panels), item("plain"))
    shop.discover()
    account = shop.raw("one")
    assert (account.total, account.failed) == (2, 0), "the page itself is whole"
    regions = shop.rows("raw_images", "one")["shop:page"]["regions"]
    assert [(each["region"], each["text"], each["box"] is not None) for each in regions] == [
        (0, "Page", False), (1, "first", True), (2, "far out", False), (3, None, False), (4, "fourth", True)
    ]  # fmt: skip
    assert regions[4]["box"] == {"x": 50, "y": 50, "w": 50, "h": 50}, "clamped to the page"

    account = shop.rgb("one")
    assert (account.total, account.processed, account.failed) == (6, 4, 2)
    assert list(shop.rows("rgb_images", "one")) == ["shop:page", "shop:page/1", "shop:page/4", "shop:plain"]
    found = failures(shop, "rgb_images", "one")
    assert found["shop:page", 2].startswith("EmptyRegion: the box [900, 900, 10, 10]")
    assert found["shop:page", 3] == "EmptyRegion: its box is the word 'none'"
    assert (shop.rgb("one").processed, shop.rgb("one").failed) == (0, 2), "the same box fails the same way"
    steps = {step.stage: step for step in explain(shop.store, shop.context.settings, {}, "shop:page").steps}
    step = steps["rgb_images"]
    assert (step.state, step.why.split(":")[0]) == ("failed", "region 2")


def test_more_panels_than_have_numbers_cost_their_page_alone(shop: Shop) -> None:
    shop.pile.paint("one", "page.png", "plain.png")
    shop.pile.batch("one", item("page", panels=[panel(0, 0, 1, 1)] * 32_768), item("plain"))
    shop.discover()
    assert (shop.raw("one").processed, shop.raw("one").failed) == (1, 1)
    assert failures(shop, "raw_images", "one") == {
        ("shop:page", 0): "BadRecord: page: more than 32,767 panels; correct the record"
    }


def test_a_panel_that_is_corrected_heals(shop: Shop) -> None:
    shop.pile.paint("one", "page.png", size=(100, 100))
    shop.pile.batch("one", item("page", panels=[panel(0, 0, 50, 50), panel(100, 0, 5, 5)]))
    shop.discover()
    shop.raw("one")
    assert shop.rgb("one").failed == 1
    shop.pile.batch("one", item("page", panels=[panel(0, 0, 50, 50), panel(95, 0, 5, 5)]))
    shop.discover()
    shop.raw("one")
    account = shop.rgb("one")
    assert (account.total, account.failed, account.failures) == (3, 0, ())


# ---- what a record changes down the line


def test_metadata_that_changes_makes_raw_anew_and_no_pixel(shop: Shop) -> None:
    shop.pile.paint("one", "a.png", "b.png")
    shop.pile.batch("one", item("a", metadata={"price": 1}), item("b"))
    shop.discover()
    before = shop.raw("one")
    made = shop.rgb("one")
    shop.pile.batch("one", item("a", metadata={"price": 2}), item("b"))
    shop.discover()
    after = shop.raw("one")
    assert (after.processed, after.skipped) == (1, 1)
    assert after.content != before.content, "which is how a catalogue of records knows"
    again = shop.rgb("one")
    assert (again.processed, again.skipped, again.content, again.version) == (0, 2, made.content, made.version + 1)
    assert shop.rgb("one").version == again.version


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"b": "é", "a": None}, '{"a": null, "b": "é"}'),
        ({"half": "\ud83d"}, '{"half": "\\ud83d"}'),
        ({"n": float("nan"), "deep": [{"m": float("inf")}], "k": 1.5}, '{"deep": [{"m": null}], "k": 1.5, "n": null}'),
    ],
)
def test_metadata_is_json_that_every_reader_takes(metadata: dict[str, object], text: str) -> None:
    assert metadata_json(metadata) == text
    assert json.loads(text)
    text.encode()


def test_half_a_surrogate_pair_in_a_record_costs_no_picture(shop: Shop) -> None:
    shop.pile.paint("one", "a.png")
    shop.pile.batch("one", item("a", metadata={"t": "x\ud83d"}, text="\udc00!", panels=[panel(fault="bad \ud800")]))
    shop.discover()
    assert shop.raw("one").failed == 0
    row = shop.rows("raw_images", "one")["shop:a"]
    assert json.loads(row["metadata"]) == {"t": "x\ud83d"}
    assert [each["text"] for each in row["regions"]] == ["?!", None]
    assert row["regions"][1]["problem"] == "bad ?"
    assert shop.rgb("one").failed == 1


def test_a_folder_has_no_record_to_compare(tmp_path: Path, small: object) -> None:
    discover(small.context, "pics", wait=True)
    small.raw("one")
    chain = small.store.chain("raw_images", "pics__000001")
    assert [row["metadata"] for row in chain.rows(chain.latest()).to_pylist()] == [
        '{"title": "a.png"}', '{"title": "b.png"}'
    ]  # fmt: skip
