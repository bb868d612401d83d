"""The tally of a run: each image of the ledger is counted once, as processed, skipped, failed or undone."""

from embeddings_dagster.stages.status import BatchStatus, batch_statuses
from embeddings_dagster.stages.tally import Tally, tally, wants_run
from embeddings_dagster_tests.stages.small_project import BATCH, SmallProject


def statuses(small: SmallProject) -> list[BatchStatus]:
    return list(batch_statuses(small.store, small.settings, {}))


def count(small: SmallProject, *run_ids: str) -> Tally:
    launched = [BATCH] if run_ids else []
    return tally(small.store, {}, "pics", statuses(small), launched, run_ids)


def wanted(small: SmallProject, **options: bool) -> bool:
    return any(wants_run(small.store, status, **options) for status in statuses(small))


def test_what_a_run_made_is_processed_and_what_it_found_is_skipped(small: SmallProject) -> None:
    small.step("one")
    assert count(small, "one") == Tally("pics", total=3, processed=2, skipped=0, failed=1, undone=0)
    assert count(small) == Tally("pics", total=3, processed=0, skipped=2, failed=1, undone=0)
    small.paint("a.png", "green")
    small.paint("d.png", "yellow")
    small.step("two")
    assert count(small, "two") == Tally("pics", total=4, processed=2, skipped=1, failed=1, undone=0)


def test_what_could_not_be_finished_is_undone(small: SmallProject) -> None:
    small.discover("one")
    assert count(small, "one") == Tally("pics", total=3, processed=0, skipped=0, failed=0, undone=3)
    small.raw("one")
    assert count(small, "one") == Tally("pics", total=3, processed=0, skipped=0, failed=1, undone=2)


def test_a_removed_image_is_not_counted(small: SmallProject) -> None:
    small.step("one")
    (small.pics / "b.png").unlink()
    small.discover("two")
    assert count(small, "two") == Tally("pics", total=2, processed=0, skipped=1, failed=1, undone=0)


def test_a_batch_wants_a_run_when_it_is_stale_or_may_heal(small: SmallProject) -> None:
    small.discover("one")
    assert wanted(small)
    small.step("one")
    assert not wanted(small), "its one failure is for good"
    assert wanted(small, retry_failed=True)
    assert wanted(small, force=True)
    small.paint("a.png", "green")
    small.discover("two")
    assert wanted(small)


def test_a_batch_that_was_emptied_before_it_was_made_wants_none(small: SmallProject) -> None:
    small.discover("one")
    for file in small.pics.iterdir():
        file.unlink()
    small.discover("two")
    assert not wanted(small)
