"""rgb_images and embeddings on pages with panels, and vectors that are found again instead of made again."""

import hashlib
import threading
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embeddings_dagster.encoders import Decode, Encoded, Unit
from embeddings_dagster.engines import LocalEngine
from embeddings_dagster.errors import CorruptFile, UnknownItem
from embeddings_dagster.ids import Key
from embeddings_dagster.images import DecodeRules, decode
from embeddings_dagster.settings import Settings, load_settings
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.store import Store
from embeddings_dagster.store.tables import RAW
from embeddings_dagster_tests.encoders import own

BATCH = "pages__000001"
MODEL = ModelSettings(kind="dino", model="bundled:dino", device="cpu")
PANELS = ((1, (0, 0, 40, 30), "Hi"), (2, (10, 20, 30, 40), None))


class CountingEngine(LocalEngine):
    """The real engine, which remembers what it was given to encode."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[str] = []

    def encode(
        self, model: ModelSettings, units: Iterable[Unit], decode: Decode, *, stop: threading.Event | None = None
    ) -> Iterator[Encoded]:
        def counted() -> Iterator[Unit]:
            for unit in units:
                self.encoded.append(unit.image_id)
                yield unit

        yield from super().encode(model, counted(), decode, stop=stop)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "pages").mkdir()
    file = tmp_path / "embeddings.yaml"
    file.write_text("sources:\n  pages:\n    kind: folder\n    path: pages\n")
    return load_settings(file)


@pytest.fixture
def context(settings: Settings) -> StageContext:
    return StageContext(settings, Store.open(settings.data_root, settings.cache_root), run_id="run")


def page(name: str, settings: Settings) -> bytes:
    """A page of its own colours, with transparency, in the source's folder."""
    seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 50, 4), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    (settings.source_path("pages") / name).write_bytes(buffer.getvalue())
    return buffer.getvalue()


def raw_row(name: str, data: bytes, panels: Iterable[tuple] = (), batch: str = BATCH) -> dict[str, object]:
    regions = [{"region": n, "box": dict(zip("xywh", box, strict=True)), "text": text} for n, box, text in panels]
    digest = hashlib.sha256(data).hexdigest()
    return {
        "image_id": f"pages:{name}",
        "input_hash": digest,
        "item_id": name,
        "ordinal": 0,
        "batch": batch,
        "location": name,
        "size": len(data),
        "sha256": digest,
        "format": "PNG",
        "mode": "RGBA",
        "width": 50,
        "height": 60,
        "regions": regions,
        "metadata": "{}",
        "run_id": "run",
    }


def commit_raw(context: StageContext, *rows: dict[str, object], batch: str = BATCH) -> None:
    writer = context.store.chain("raw_images", batch).writer(RAW, run_id="run", label={})
    writer.drop(writer.present())
    for each in rows:
        writer.add([each])
    writer.finish(inputs={}, total=len(rows))


def rgb_rows(context: StageContext, batch: str = BATCH) -> dict[Key, dict[str, object]]:
    chain = context.store.chain("rgb_images", batch)
    manifest = chain.latest()
    assert manifest is not None
    return {Key(row["image_id"], row["region"]): row for row in chain.rows(manifest).to_pylist()}


def vectors(context: StageContext, batch: str = BATCH) -> dict[Key, np.ndarray]:
    [place] = [each for each in context.store.datasets() if each.startswith("embeddings/")]
    chain = context.store.chain(place, batch)
    manifest = chain.latest()
    assert manifest is not None
    rows = chain.rows(manifest, ("image_id", "region", "embedding")).to_pylist()
    return {Key(row["image_id"], row["region"]): np.array(row["embedding"], dtype=np.float32) for row in rows}


def test_panels_are_rows_with_a_box_and_no_bytes(context: StageContext, settings: Settings) -> None:
    commit_raw(context, raw_row("a.png", page("a.png", settings), PANELS))
    account = run_rgb(context, BATCH)
    assert (account.total, account.processed) == (3, 3)
    rows = rgb_rows(context)
    assert list(rows) == [("pages:a.png", 0), ("pages:a.png", 1), ("pages:a.png", 2)]
    assert [row["image"]["bytes"] is None for row in rows.values()] == [False, True, True]
    assert [row["text"] for row in rows.values()] == [None, "Hi", None]
    assert len({row["input_hash"] for row in rows.values()}) == 3


def test_each_region_gets_the_vector_of_its_crop(context: StageContext, settings: Settings) -> None:
    data = page("a.png", settings)
    commit_raw(context, raw_row("a.png", data, PANELS))
    run_rgb(context, BATCH)
    run_embed(context, "dino", MODEL, CountingEngine(), BATCH)
    whole = decode(data, DecodeRules())
    for number, box in ((0, (0, 0, 50, 60)), *((number, box) for number, box, _ in PANELS)):
        x, y, w, h = box
        buffer = BytesIO()
        whole.crop((x, y, x + w, y + h)).save(buffer, "PNG")
        commit_raw(
            context, raw_row(f"crop-{number}.png", (_saved(settings, f"crop-{number}.png", buffer.getvalue()))),
            batch="pages__crops",
        )  # fmt: skip
        run_rgb(context, "pages__crops")
        run_embed(context, "dino", MODEL, CountingEngine(), "pages__crops")
        [alone] = vectors(context, "pages__crops").values()
        np.testing.assert_allclose(vectors(context)[Key("pages:a.png", number)], alone, atol=1e-5)


def _saved(settings: Settings, name: str, data: bytes) -> bytes:
    (settings.source_path("pages") / name).write_bytes(data)
    return data


def test_a_text_that_changes_reaches_the_row_and_encodes_nothing(context: StageContext, settings: Settings) -> None:
    data = page("a.png", settings)
    commit_raw(context, raw_row("a.png", data, PANELS), raw_row("b.png", page("b.png", settings)))
    run_rgb(context, BATCH)
    run_embed(context, "dino", MODEL, CountingEngine(), BATCH)
    before = context.store.chain("rgb_images", BATCH).latest()
    commit_raw(
        context,
        raw_row("a.png", data, ((1, (0, 0, 40, 30), "Bye"), PANELS[1])),
        raw_row("b.png", page("b.png", settings)),
    )

    account = run_rgb(context, BATCH)

    assert (account.processed, account.skipped) == (3, 1), "the page whole, and no other"
    assert rgb_rows(context)[Key("pages:a.png", 1)]["text"] == "Bye"
    after = context.store.chain("rgb_images", BATCH).latest()
    assert before is not None
    assert after is not None
    assert before.content != after.content
    engine = CountingEngine()
    run_embed(context, "dino", MODEL, engine, BATCH)
    assert engine.encoded == []
    assert run_rgb(context, BATCH).processed == 0


def test_a_file_that_changed_since_it_was_hashed_is_a_failure_that_heals(
    context: StageContext, settings: Settings
) -> None:
    data = page("a.png", settings)
    commit_raw(context, raw_row("a.png", data, PANELS), raw_row("b.png", page("b.png", settings)))
    page_file = settings.source_path("pages") / "a.png"
    page_file.write_bytes(data + b"more")
    account = run_rgb(context, BATCH)
    assert (account.total, account.processed, account.failed) == (4, 1, 3)
    assert {(each.region, each.error_class, each.retryable) for each in account.failures} == {
        (region, "RawChanged", True) for region in range(3)
    }
    page_file.write_bytes(data)
    assert run_rgb(context, BATCH).failed == 0


def test_equal_pixels_are_encoded_once_in_whatever_batch_and_under_whatever_name(
    context: StageContext, settings: Settings
) -> None:
    data = page("a.png", settings)
    commit_raw(context, raw_row("a.png", data), raw_row("b.png", page("b.png", settings)))
    run_rgb(context, BATCH)
    engine = CountingEngine()
    assert run_embed(context, "dino", MODEL, engine, BATCH).reused == 0
    assert sorted(engine.encoded) == ["pages:a.png", "pages:b.png"]

    _saved(settings, "renamed.png", data)
    commit_raw(context, raw_row("renamed.png", data, batch="pages__000002"), batch="pages__000002")
    run_rgb(context, "pages__000002")
    engine = CountingEngine()
    account = run_embed(context, "dino", MODEL, engine, "pages__000002")
    assert (account.processed, account.reused, engine.encoded) == (1, 1, [])
    [again] = vectors(context, "pages__000002").values()
    np.testing.assert_array_equal(again, vectors(context)[Key("pages:a.png", 0)])


def test_force_encodes_what_could_be_reused(context: StageContext, settings: Settings) -> None:
    commit_raw(context, raw_row("a.png", page("a.png", settings)))
    run_rgb(context, BATCH)
    run_embed(context, "dino", MODEL, CountingEngine(), BATCH)
    engine = CountingEngine()
    forced = StageContext(settings, context.store, run_id="again", force=True)
    account = run_embed(forced, "dino", MODEL, engine, BATCH)
    assert (account.processed, account.reused, engine.encoded) == (1, 0, ["pages:a.png"])


def test_force_heals_a_damaged_part(context: StageContext, settings: Settings) -> None:
    commit_raw(context, raw_row("a.png", page("a.png", settings), PANELS))
    run_rgb(context, BATCH)
    [part] = (Path(context.store.root) / "rgb_images" / BATCH / "parts").iterdir()
    part.write_bytes(b"rot" + part.read_bytes()[3:])
    with pytest.raises(CorruptFile, match=part.name):
        run_rgb(context, BATCH)
    forced = StageContext(settings, context.store, run_id="again", force=True)
    assert run_rgb(forced, BATCH).processed == 3
    assert len(rgb_rows(context)) == 3


def test_a_stage_names_what_it_stands_on_when_that_is_not_there(context: StageContext) -> None:
    with pytest.raises(UnknownItem, match="raw_images of batch 'pages__000001' is not there yet"):
        run_rgb(context, BATCH)
    with pytest.raises(UnknownItem, match="rgb_images of batch 'pages__000001' is not there yet"):
        run_embed(context, "dino", MODEL, CountingEngine(), BATCH)


def test_panels_beyond_what_a_model_takes_fail_once_and_the_rest_of_their_page_is_there(
    context: StageContext, settings: Settings, tmp_path: Path
) -> None:
    model = own.save(tmp_path / "model", max_regions=2)
    commit_raw(
        context,
        raw_row("a.png", page("a.png", settings), PANELS),
        raw_row("b.png", page("b.png", settings), PANELS[:1]),
    )
    run_rgb(context, BATCH)
    account = run_embed(context, "pages", model, CountingEngine(), BATCH)
    assert (account.total, account.processed, account.failed) == (5, 4, 1)
    assert [(each.image_id, each.region, each.error_class) for each in account.failures] == [
        ("pages:a.png", 2, "TooManyRegions")
    ]
    assert list(vectors(context)) == [("pages:a.png", 0), ("pages:a.png", 1), ("pages:b.png", 0), ("pages:b.png", 1)]
    engine = CountingEngine()
    again = run_embed(context, "pages", model, engine, BATCH)
    assert (again.total, again.skipped, again.failed, engine.encoded) == (5, 4, 1, [])


def test_a_panel_without_a_vector_takes_none_from_its_page(
    context: StageContext, settings: Settings, tmp_path: Path
) -> None:
    arguments = {"fault": "nan"}  # where all is black
    model = own.save(tmp_path / "model", "Alone", arguments=arguments)
    picture, buffer = Image.new("RGB", (50, 60), "red"), BytesIO()
    picture.paste("black", (10, 20, 40, 60))
    picture.save(buffer, "PNG")
    commit_raw(context, raw_row("a.png", _saved(settings, "a.png", buffer.getvalue()), PANELS))
    run_rgb(context, BATCH)
    account = run_embed(context, "pages", model, CountingEngine(), BATCH)
    assert (account.total, account.processed, account.failed) == (3, 2, 1)
    assert [(each.region, each.error_class) for each in account.failures] == [(2, "NotFinite")]
    assert list(vectors(context)) == [("pages:a.png", 0), ("pages:a.png", 1)]
    engine = CountingEngine()
    run_embed(context, "pages", model, engine, BATCH)
    assert engine.encoded == []
