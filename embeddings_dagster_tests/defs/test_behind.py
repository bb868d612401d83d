from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.defs import behind
from embeddings_dagster.defs.behind import is_emptied, ledger_batches, raw_is_behind, window
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.store import LedgerBatch


def entry(key: str, since: int) -> LedgerBatch:
    return LedgerBatch(key, "state", since, 1, 1, datetime(2026, 1, 1, tzinfo=UTC), None, "f", 1, 1, "s")


@given(st.integers(0, 1500), st.integers(0, 1500))
def test_every_batch_has_its_turn_and_a_tick_is_bounded(count: int, changed: int) -> None:
    batches = {f"pics__{n:06}": entry(f"pics__{n:06}", 9 if n == changed else 1) for n in range(count)}
    seen: set[str] = set()
    cursor = ""
    for _ in range(-(-count // behind.WINDOW) or 1):
        keys, cursor = window(batches, cursor)
        assert len(keys) <= behind.NEWEST + behind.WINDOW
        assert changed >= count or f"pics__{changed:06}" in keys
        seen |= set(keys)
    assert seen == set(batches)


def test_a_lost_cursor_only_begins_again() -> None:
    batches = {f"pics__{n}": entry(f"pics__{n}", 1) for n in range(5)}
    assert window(batches, "") == window(batches, "zzz")
    assert window(batches, "")[0] == sorted(batches)


def test_raw_follows_the_ledger(project: Project, stage: StageContext, looks_at_once: None) -> None:
    found = discover(stage, "pics", wait=True)
    batches = ledger_batches(project.store, ["pics", "never-seen"])
    assert list(batches) == ["pics__000001", "pics__000002", "pics__000003"]
    assert all(raw_is_behind(project.store, key, each) for key, each in batches.items())
    run_raw(stage, "pics__000001")
    assert not raw_is_behind(project.store, "pics__000001", found.manifest.batches["pics__000001"])


def test_a_removed_batch_is_emptied_when_every_stage_is(
    project: Project, stage: StageContext, looks_at_once: None, tmp_path: Path
) -> None:
    discover(stage, "pics", wait=True)
    run_raw(stage, "pics__000001")
    for name in ("000", "001"):
        (tmp_path / "pics" / f"{name}.png").unlink()
    after = discover(stage, "pics", wait=True).manifest.batches["pics__000001"]
    assert after.live == 0
    assert raw_is_behind(project.store, "pics__000001", after)
    assert not is_emptied(project.store, "pics__000001", project.identities())
    run_raw(stage, "pics__000001")
    assert is_emptied(project.store, "pics__000001", project.identities())
