import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from embeddings_dagster.defs.behind import behind, emptied, in_order, ledger_batches, raw_heads
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.store import LedgerBatch

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = ["pics__000001", "pics__000002", "pics__000003"]


def entry(key: str, *, seen: int | None, scraped: int | None = None) -> LedgerBatch:
    def day(number: int | None) -> datetime | None:
        return None if number is None else NEW_YEAR + timedelta(days=number)

    return LedgerBatch(key, "state", 1, 1, 1, day(seen), day(scraped), "f", 1, 1, "s")


def wanting(project: Project, *, at_most: int | None = None) -> set[str]:
    batches = ledger_batches(project.store, ["pics"])
    return behind(raw_heads(project.store, batches, at_most=at_most), batches)


def test_batches_come_in_the_order_they_were_scraped_in_else_seen() -> None:
    batches = {
        each.key: each
        for each in (
            entry("pics__d", seen=5),
            entry("pics__c", seen=5),
            entry("pics__b", seen=9, scraped=4),
            entry("pics__a", seen=9, scraped=7),
            entry("pics__e", seen=None),
        )
    }
    assert in_order(batches, batches) == ["pics__e", "pics__b", "pics__c", "pics__d", "pics__a"]


def test_raw_follows_the_ledger(project: Project, stage: StageContext, looks_at_once: None) -> None:
    discover(stage, "pics", wait=True)
    assert list(ledger_batches(project.store, ["pics", "never-seen"])) == KEYS
    assert wanting(project) == {*KEYS}
    run_raw(stage, KEYS[0])
    assert wanting(project) == {*KEYS[1:]}


def test_with_an_empty_cache_what_changed_last_is_compared_first_and_the_rest_in_the_next_ticks(
    project: Project, stage: StageContext, looks_at_once: None, tmp_path: Path
) -> None:
    for key in sorted(discover(stage, "pics", wait=True).manifest.batches):
        run_raw(stage, key)
    (tmp_path / "pics" / "002.png").write_bytes(b"another picture")
    discover(stage, "pics", wait=True)
    shutil.rmtree(project.store.cache)
    batches = ledger_batches(project.store, ["pics"])
    opened = raw_heads(project.store, batches, at_most=1)
    assert (behind(opened, batches), opened.unopened) == ({KEYS[1]}, {KEYS[0], KEYS[2]})
    assert raw_heads(project.store, batches, at_most=1).unopened == {KEYS[2]}
    assert raw_heads(project.store, batches, at_most=1).unopened == set()


def test_a_batch_whose_manifest_is_damaged_wants_a_run_that_says_so_and_holds_up_no_other(
    project: Project, stage: StageContext, looks_at_once: None
) -> None:
    discover(stage, "pics", wait=True)
    for key in KEYS:
        run_raw(stage, key)
    chain = project.store.chain("raw_images", KEYS[1])
    path = project.store.files.local(chain.versions.path(1))
    assert path is not None
    path.write_bytes(b"damaged")
    assert wanting(project) == {KEYS[1]}


def test_a_removed_batch_is_emptied_when_every_stage_is(
    project: Project, stage: StageContext, looks_at_once: None, tmp_path: Path
) -> None:
    key = KEYS[0]
    discover(stage, "pics", wait=True)
    run_raw(stage, key)
    for name in ("000", "001"):
        (tmp_path / "pics" / f"{name}.png").unlink()
    assert discover(stage, "pics", wait=True).manifest.batches[key].live == 0
    assert key in wanting(project)
    assert emptied(project.store, [key], project.identities()) == []
    run_raw(stage, key)
    assert key not in wanting(project)
    assert emptied(project.store, [key], project.identities()) == [key]


@pytest.mark.parametrize("live", [True, False])
def test_a_batch_that_was_never_made_is_behind_only_if_it_has_pictures(
    project: Project, stage: StageContext, looks_at_once: None, tmp_path: Path, live: bool
) -> None:
    discover(stage, "pics", wait=True)
    if not live:
        for name in ("000", "001"):
            (tmp_path / "pics" / f"{name}.png").unlink()
        discover(stage, "pics", wait=True)
    assert (KEYS[0] in wanting(project)) is live
