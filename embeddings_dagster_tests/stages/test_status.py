"""Status: stale is what an input's content says, never a version number."""

from dataclasses import replace

from embeddings_dagster.settings import RgbSettings
from embeddings_dagster.stages.status import BatchStatus, batch_statuses, totals
from embeddings_dagster_tests.stages.small_project import BATCH, SmallProject


def status(small: SmallProject) -> BatchStatus:
    [found] = batch_statuses(small.store, small.settings, {})
    return found


def states(small: SmallProject) -> dict[str, str]:
    return {stage.stage: stage.state for stage in status(small).stages}


def test_nothing_is_there_before_a_source_was_looked_at(small: SmallProject) -> None:
    assert list(batch_statuses(small.store, small.settings, {})) == []


def test_each_stage_is_missing_then_current(small: SmallProject) -> None:
    small.discover("one")
    assert states(small) == {"raw_images": "missing", "rgb_images": "missing"}
    small.raw("one")
    assert states(small) == {"raw_images": "current", "rgb_images": "missing"}
    small.rgb("one")
    found = status(small)
    assert (found.batch, found.images, found.current, found.reconciles) == (BATCH, 3, True, True)
    assert [(stage.rows, stage.failed, stage.run_id) for stage in found.stages] == [(2, 1, "one"), (2, 0, "one")]


def test_a_changed_file_makes_stale_what_was_made_of_it(small: SmallProject) -> None:
    small.step("one")
    small.paint("a.png", "green")
    small.discover("two")
    assert states(small) == {"raw_images": "stale", "rgb_images": "current"}
    assert status(small).stages[0].why == "sources/pics changed since its version 1"
    small.raw("two")
    assert states(small) == {"raw_images": "current", "rgb_images": "stale"}
    small.rgb("two")
    assert status(small).current


def test_a_file_that_was_only_touched_leaves_the_pixels_current(small: SmallProject) -> None:
    small.step("one")
    small.paint("a.png", "red")
    small.discover("two")
    small.raw("two")
    assert states(small) == {"raw_images": "current", "rgb_images": "current"}


def test_another_background_makes_the_pixels_stale(small: SmallProject) -> None:
    small.step("one")
    other = small.settings.model_copy(update={"rgb": RgbSettings(background="#000000")})
    [found] = batch_statuses(small.store, other, {})
    assert [stage.state for stage in found.stages] == ["current", "stale"]
    assert "background" in found.stages[1].why


def test_totals_sum_the_batches_by_stage(small: SmallProject) -> None:
    small.step("one")
    one = status(small)
    raw, rgb = totals([one, replace(one, batch="pics__000002")])
    assert (raw.stage, raw.rows, raw.failed, raw.states) == ("raw_images", 4, 2, {"current": 2})
    assert (rgb.stage, rgb.rows, rgb.failed, rgb.states) == ("rgb_images", 4, 0, {"current": 2})
    assert raw.bytes == 2 * one.stages[0].bytes > 0
