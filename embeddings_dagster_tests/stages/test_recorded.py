"""Recorded failures and live files: of the newest complete versions, and of those alone."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from embeddings_dagster.errors import UnknownItem
from embeddings_dagster.stages.live_files import live_files
from embeddings_dagster.stages.recorded import Wanted, recorded_failures
from embeddings_dagster_tests.stages.small_project import BATCH, SmallProject


def failed(small: SmallProject, wanted: Wanted | None = None) -> list[str]:
    return [each.failure.image_id for each in recorded_failures(small.store, {}, wanted or Wanted())]


def test_a_failure_is_listed_until_it_is_mended(small: SmallProject) -> None:
    assert failed(small) == []
    small.step("one")
    [found] = recorded_failures(small.store, {}, Wanted())
    assert (found.source, found.batch, found.dataset, found.version) == ("pics", BATCH, "raw_images", 1)
    small.paint("c.png", "green")
    small.step("two")
    assert failed(small) == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(stage="raw_images"), True),
        (Wanted(stage="rgb_images"), False),
        (Wanted(error_class="FormatNotAllowed"), True),
        (Wanted(source="pics", batch=BATCH, retryable=False), True),
        (Wanted(retryable=True), False),
        (Wanted(source="other"), False),
        (Wanted(batch="pics__000002"), False),
    ],
)
def test_filters_take_what_they_say(small: SmallProject, wanted: Wanted, found: bool) -> None:
    small.step("one")
    assert failed(small, wanted) == ["pics:c.png"] * found


def test_the_live_rows_are_the_files_rows_less_the_dead(small: SmallProject) -> None:
    small.step("one")
    small.paint("a.png", "green")
    small.step("two")
    rows = []
    for file in live_files(small.store, {}, "raw_images"):
        images = pq.read_table(Path(file.path), columns=["image_id"]).column("image_id").to_pylist()
        assert len(images) == file.rows
        rows += [image for number, image in enumerate(images) if number not in file.dead]
    assert sorted(rows) == ["pics:a.png", "pics:b.png"]


def test_an_unknown_asset_names_those_there_are(small: SmallProject) -> None:
    with pytest.raises(UnknownItem, match="there are raw_images, rgb_images"):
        list(live_files(small.store, {}, "clop_embeddings"))
