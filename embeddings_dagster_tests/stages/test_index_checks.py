"""The checks notice what is missing, outdated or too much, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from embeddings_dagster.stages.index_checks import CheckResult, index_consumed_is_current, index_rows_equal_live_rows
from embeddings_dagster.stages.index_versions import index_rollback
from embeddings_dagster_tests.stages.index_world import IDENTITY, MODEL, World, make_world, whole


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = make_world(tmp_path)
    world.age(old=1, new=2)
    world.write("old", whole("a", "b"))
    world.write("new", whole("b", "c"))
    world.refresh()
    return world


def consumed(world: World) -> CheckResult:
    return index_consumed_is_current(world.store, MODEL, IDENTITY)


def rows(world: World) -> CheckResult:
    return index_rows_equal_live_rows(world.store, MODEL, IDENTITY)


def test_both_pass_after_a_refresh(world: World) -> None:
    assert consumed(world) == CheckResult(
        True,
        "all 2 batches are in",
        detail={"generation": 1, "pinned": False, "batches": 2, "stale": 0, "stale_batches": []},
    )
    assert rows(world) == CheckResult(
        True,
        "3 rows, as many as are live",
        detail={
            "generation": 1, "pinned": False, "rows": 3, "live_rows": 3, "missing": 0, "outdated": 0, "superfluous": 0,
        },
    )  # fmt: skip


def test_both_name_what_changed_since(world: World) -> None:
    world.write("new", {**whole("b", version="2"), **whole("d", "e")})
    assert (consumed(world).passed, consumed(world).detail["stale_batches"]) == (False, ["art__new"])
    result = rows(world)
    assert not result.passed
    assert result.description == "3 rows for 4 live ones: 2 missing, 1 outdated, 1 superfluous"
    assert [result.detail[name] for name in ("missing", "outdated", "superfluous")] == [2, 1, 1]


def test_a_vanished_batch_is_stale(world: World) -> None:
    folder = next(Path(world.store.root).glob("embeddings/*/*/art__new"))
    folder.rename(folder.with_name(".gone"))
    assert consumed(world).detail["stale_batches"] == ["art__new"]
    assert (rows(world).detail["outdated"], rows(world).detail["superfluous"]) == (1, 1)


def test_a_changed_order_of_batches_is_stale(world: World) -> None:
    world.age(old=3)
    assert consumed(world).detail["stale_batches"] == ["art__old"]
    assert rows(world).detail["outdated"] == 1


def test_they_see_through_a_generation_that_lies_about_its_rows(world: World) -> None:
    """What it consumed is current, but a segment is not named any more."""
    newest = world.generations.latest()
    assert newest is not None
    world.generations.commit(newest, replace(newest, segments=()))
    assert consumed(world).passed
    assert rows(world).detail["missing"] == 3


def test_a_pinned_index_says_why_it_is_behind(world: World) -> None:
    world.write("new", whole("z"))
    world.refresh()
    index_rollback(world.context, MODEL)
    for result in (consumed(world), rows(world)):
        assert (result.passed, result.pinned) == (False, True)
        assert "rollback --release" in result.description


def test_without_a_generation_there_is_everything_to_do(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    assert consumed(world).passed
    assert rows(world).passed
    world.write("1", whole("a"))
    assert "no generation yet" in consumed(world).description
    assert rows(world).detail["missing"] == 1


def test_checking_leaves_nothing_behind(world: World) -> None:
    before = sorted(world.store.cache.rglob("*"))
    rows(world)
    assert sorted(world.store.cache.rglob("*")) == before
