"""How far a fingerprint is: what manifests say of it, counted against the pictures there are."""

from dataclasses import replace
from pathlib import Path

import pytest

from embeddings_dagster.ids import Key
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.progress import Progress, progress
from embeddings_dagster.store.tables import RGB
from embeddings_dagster_tests.stages.index_world import IDENTITY, MODEL, World, make_world, whole


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def rgb(world: World, batch: str, *names: str) -> str:
    """Bring `rgb_images` of a batch to exactly these pictures; returns its content."""
    writer = world.store.chain("rgb_images", f"art__{batch}").writer(RGB, run_id="run", label={"recipe": "r"})
    writer.drop(writer.present().keys())
    for image_id, regions in whole(*names).items():
        writer.add([{"image_id": image_id, "region": region, "input_hash": it} for region, it in regions.items()])
    return writer.finish(inputs={}, total=len(names)).content


def seen(world: World) -> Progress:
    return progress(world.store, MODEL, IDENTITY)


def test_nothing_is_missing_where_nothing_is(world: World) -> None:
    assert seen(world) == Progress(0, 0, 0, 0, 0.0, ())


def test_rows_and_batches_are_counted_against_those_there_are(world: World) -> None:
    contents = {batch: rgb(world, batch, *names) for batch, names in {"1": "abc", "2": "d", "3": "ef"}.items()}
    world.write("1", whole("a", "b", "c"), rgb=contents["1"])
    world.write("2", whole("d"), rgb="an older one")
    world.refresh()
    assert seen(world) == Progress(
        batches=3,
        complete=1,
        encoded=3,
        rows=6,
        share=0.5,
        missing=(
            "1 of 3 batches encoded from pictures that changed since (art__2)",
            "1 of 3 batches not encoded yet (art__3)",
        ),
    )


def test_a_failed_row_is_done_and_an_index_that_lags_is_missing(world: World) -> None:
    content = rgb(world, "1", "a", "b")
    world.write("1", whole("a"), failed=[Key("art:b", 0)], rgb=content)
    found = seen(world)
    assert (found.encoded, found.rows, found.share) == (2, 2, 1.0)
    assert found.missing == ("its index is behind: 1 batches changed since, of 1; there is no generation yet",)
    world.refresh()
    assert seen(world).missing == ()


def test_many_batches_are_named_in_one_line(world: World) -> None:
    for number in range(1, 6):
        rgb(world, str(number), f"p{number}")
    assert seen(world).missing == ("5 of 5 batches not encoded yet (art__1, art__2, art__3 and 2 more)",)


def test_a_batch_that_was_emptied_lacks_nothing(world: World) -> None:
    rgb(world, "1", "a")
    rgb(world, "1")
    assert seen(world) == Progress(0, 0, 0, 0, 0.0, ())


def test_of_texts_the_share_is_one_of_batches(world: World) -> None:
    content = rgb(world, "1", "a", "b")
    rgb(world, "2", "c")
    world.write("1", whole("a"), rgb=content)
    found = progress(world.store, MODEL, replace(IDENTITY, inputs="texts"))
    assert (found.encoded, found.rows, found.share) == (1, None, 0.5)


def test_no_rows_are_read(world: World) -> None:
    world.write("1", whole("a"), rgb=rgb(world, "1", "a"))
    world.refresh()
    before = seen(world)
    for part in Path(world.store.root).rglob("parts/*.parquet"):
        part.unlink()
    assert seen(world) == before
    assert before.share == 1.0


def test_a_damaged_manifest_is_said_and_stops_nothing(world: World) -> None:
    for batch in "12":
        world.write(batch, whole(batch), rgb=rgb(world, batch, batch))
    world.refresh()
    Path(world.store.root, dataset(MODEL, IDENTITY), "art__1", "manifests", "00000001.json").write_text("{}")
    found = seen(world)
    assert (found.complete, found.batches) == (1, 2)
    assert found.missing[0] == "1 of 2 batches damaged, see `embeddings verify` (art__1)"
    assert "00000001.json does not hold what was committed" in found.missing[1]
