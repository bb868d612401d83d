"""The map: neighbours stay neighbours, every picture has a cell of its own, the same inputs give the same file."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embeddings_dagster.errors import CorruptFile, Stopped
from embeddings_dagster.stages.embedding_map import (
    PLACES,
    map_of,
    read_picture,
    read_small_picture,
    refresh_map,
    sampled,
)
from embeddings_dagster.stages.embedding_map_layout import layout, principal
from embeddings_dagster.stages.embedding_map_picture import cells, draw_map
from embeddings_dagster_tests.stages.gallery import EMOJI, MODEL, Gallery, gallery


def clustered(groups: int, each: int, dimension: int = 32) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.standard_normal((groups, dimension)), each, axis=0)
    return (centres + 0.3 * rng.standard_normal(centres.shape)).astype(np.float32)


def test_groups_that_components_lay_over_each_other_lie_apart() -> None:
    vectors = clustered(40, 6)
    groups = np.repeat(np.arange(40), 6)

    def purity(places: np.ndarray) -> float:
        apart = ((places[:, None] - places[None]) ** 2).sum(axis=2)
        np.fill_diagonal(apart, np.inf)
        return float((groups[apart.argsort(axis=1)[:, :3]] == groups[:, None]).mean())

    places = layout(vectors)
    assert places.shape == (240, 2)
    assert (places.min(), places.max()) == (0.0, 1.0)
    assert purity(places) > 0.95
    assert purity(principal(vectors, 2)) < 0.75
    assert np.array_equal(places, layout(vectors)), "no chance in it"


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_few_pictures_have_places_too(count: int) -> None:
    places = layout(clustered(1, count, dimension=3) if count else np.zeros((0, 3), np.float32))
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()


def test_pictures_that_are_all_the_same_have_places() -> None:
    assert np.isfinite(layout(np.ones((20, 8), np.float32))).all()
    assert np.isfinite(layout(np.ones((20, 1), np.float32) * np.arange(20, dtype=np.float32)[:, None])).all()


def test_a_stop_is_obeyed_while_it_settles() -> None:
    def stop() -> None:
        raise Stopped("now")

    with pytest.raises(Stopped):
        layout(clustered(2, 5), stop)


def test_no_two_places_share_a_cell_and_each_is_the_nearest_free_one() -> None:
    places = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.5, 0.5]])
    found = cells(places, 3).tolist()
    assert found == [[0, 0], [1, 0], [2, 2], [1, 1]]
    assert len({tuple(each) for each in cells(np.full((100, 2), 0.5), 10).tolist()}) == 100
    with pytest.raises(ValueError, match="do not fit"):
        cells(places, 1)


def test_the_drawing_has_a_legend_of_the_sources_and_a_tile_for_what_has_no_thumbnail() -> None:
    drawn = draw_map(["art:a", "shop:b"], np.array([[0.0, 0.5], [1.0, 0.5]]), [None, None])
    colours = {colour for _, colour in drawn.getcolors(100_000)}
    assert {(0, 114, 178), (213, 94, 0), (200, 200, 200)} <= colours
    assert draw_map([], np.zeros((0, 2)), []).size[0] > 0


def test_the_sample_stays_when_pictures_come() -> None:
    some = [f"art:{number}" for number in range(300)]
    more = sorted([*some, *(f"new:{number}" for number in range(30))])
    before = {some[number] for number in sampled(some, 100).tolist()}
    after = {more[number] for number in sampled(more, 100).tolist()}
    assert len(before) == len(after) == 100
    assert len(before - after) < 25
    assert sampled(some, 1000).tolist() == list(range(300))


@pytest.fixture
def shop(tmp_path: Path, _hasty: None) -> Gallery:
    made = gallery(tmp_path)
    for folder in ("faces", "flags"):
        files = sorted((EMOJI / folder).iterdir())[:8]
        made.put({f"{folder}/{file.name}": file.read_bytes() for file in files})
    made.step()
    return made


def test_a_run_keeps_places_and_picture_and_writes_nothing_when_nothing_changed(shop: Gallery) -> None:
    report = refresh_map(shop.context, MODEL)
    assert (report.generation, report.changed, report.pictures, report.shown) == (1, True, 16, 16)
    table = map_of(shop.store, MODEL).read_table(map_of(shop.store, MODEL).latest(), PLACES)
    assert table.column("image_id").to_pylist() == sorted(table.column("image_id").to_pylist())
    xy = np.stack([table.column("x").to_numpy(), table.column("y").to_numpy()], axis=1)
    apart = ((xy[:, None] - xy[None]) ** 2).sum(axis=2) + np.diag(np.full(16, np.inf))
    beside = (apart.argmin(axis=1) < 8) == (np.arange(16) < 8)
    assert beside.sum() >= 13, "faces lie by faces and flags by flags"
    drawing = read_picture(shop.store, MODEL)
    small = read_small_picture(shop.store, MODEL, 20_000)
    assert drawing is not None
    assert small is not None
    assert Image.open(io.BytesIO(drawing)).format == "PNG"
    assert (Image.open(io.BytesIO(small)).format, len(small) <= 20_000) == ("JPEG", True)
    before = shop.files("analysis")
    assert not refresh_map(shop.context, MODEL).changed
    assert shop.files("analysis") == before
    shutil.rmtree(Path(shop.store.root, "analysis"))
    refresh_map(shop.context, MODEL)
    assert read_picture(shop.store, MODEL) == drawing, "the same inputs, the same file"


def test_a_changed_index_or_setting_makes_a_new_one_and_damage_is_healed(shop: Gallery) -> None:
    refresh_map(shop.context, MODEL)
    few = shop.settings.analysis.model_copy(update={"map_pictures": 5})
    context = replace(shop.context, settings=shop.settings.model_copy(update={"analysis": few}))
    assert (refresh_map(context, MODEL).generation, refresh_map(context, MODEL).shown) == (2, 5)
    newest = map_of(shop.store, MODEL).latest()
    assert newest is not None
    path = Path(shop.store.root, "analysis", "embedding_map", MODEL, newest.files["picture"].file)
    path.write_bytes(b"damaged")
    with pytest.raises(CorruptFile, match="delete the folder analysis/embedding_map"):
        read_picture(shop.store, MODEL)
    assert refresh_map(context, MODEL).generation == 3


def test_one_picture_and_none_make_a_map_too(tmp_path: Path, _hasty: None) -> None:  # noqa: PT019
    made = gallery(tmp_path)
    assert refresh_map(made.context, MODEL).generation is None
    assert read_picture(made.store, MODEL) is None
    made.put({"a.png": (EMOJI / "faces" / "alien.png").read_bytes()})
    made.step()
    assert refresh_map(made.context, MODEL).shown == 1
    made.remove("a.png")
    made.step()
    assert refresh_map(made.context, MODEL).shown == 0
