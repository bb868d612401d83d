"""A compaction makes few segments of many and changes no answer, whatever happens in the middle of it."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.errors import CommitConflict, CorruptFile, Stopped
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Generation, GenerationManifest, Generations
from embeddings_dagster.index.segment import read_rows
from embeddings_dagster.stages import compact as compact_module
from embeddings_dagster.stages import compact_rows
from embeddings_dagster.stages.compact import CompactReport, compact_index, compaction_due
from embeddings_dagster.stages.index_checks import index_rows_equal_live_rows
from embeddings_dagster.stages.index_versions import index_release, index_rollback
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import Problem
from embeddings_dagster.store.steps import KILL_AT
from embeddings_dagster_tests.index.helpers import vector
from embeddings_dagster_tests.stages.index_world import COLUMNS, IDENTITY, MODEL, World, make_world, whole


def compact(world: World, **options: float) -> CompactReport:
    return compact_index(world.context, MODEL, IDENTITY, **options)


def newest(world: World) -> GenerationManifest:
    manifest = world.generations.latest()
    assert manifest is not None
    return manifest


def answers(world: World) -> list[tuple[str, int, float]]:
    found = world.open().search(vector("q"), 1_000, world.open().selection(regions="all"))
    return [(hit.image_id, hit.region, hit.score) for hit in found]


def damaged(world: World) -> list[Problem]:
    return [problem for problem in verify(world.store) if problem.dataset == "indexes"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Five segments of a batch or two each; `gone` died, `b` changed, the last is a page with a panel."""
    world = make_world(tmp_path)
    world.age(one=1, two=2)
    for one, two in (
        (whole("a", "b", "gone"), {}),
        (whole("a", "b", "gone", "c"), whole("z")),
        ({**whole("a", "c"), **whole("b", version="2")}, whole("z")),
        ({**whole("a", "c"), **whole("b", version="2")}, whole("z", "y")),
        ({**whole("a", "c"), **whole("b", version="2"), "art:é page": {0: "page", 1: "panel"}}, whole("z", "y")),
    ):
        world.write("one", one)
        world.write("two", two)
        world.refresh()
    assert len(newest(world).segments) == 5
    return world


def test_small_segments_become_one_with_the_same_answers(world: World) -> None:
    rows, said, base = world.rows(), answers(world), newest(world)
    report = compact(world)
    assert (report.generation, report.merges, report.merged, report.written, report.dropped) == (6, 1, 5, 7, 2)
    assert (report.rows, report.segments_before, report.segments_after, report.finished) == (7, 5, 1, True)
    assert report.bytes_after < report.bytes_before
    assert world.rows() == rows
    assert answers(world) == said
    made = newest(world)
    assert made.segments[0].deletions is None
    assert (made.consumed, made.fingerprint, made.pinned) == (base.consumed, base.fingerprint, False)
    assert world.log[-1] == "toy: 5 segments became 1 of 7 rows, generation 6"


def test_rows_of_a_batch_lie_side_by_side_in_the_order_they_came(world: World) -> None:
    compact(world)
    table, _ = read_rows(world.store, world.generations.folder, newest(world).segments[0], (*COLUMNS, "label"))
    assert table.column("label").to_pylist() == list(range(7))
    assert table.column("image_id").to_pylist()[-2:] == ["art:z", "art:y"]
    assert table.column("batch").to_pylist() == ["art__one"] * 5 + ["art__two"] * 2


def test_where_nothing_is_due_nothing_is_written(world: World) -> None:
    compact(world)
    before = world.files()
    report = compact(world)
    assert (report.generation, report.merges, report.finished, report.segments_after) == (6, 0, True, 1)
    assert world.files() == before


def test_an_index_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    report = compact(world)
    assert (report.generation, report.merges, report.rows, report.finished) == (None, 0, 0, True)
    assert world.files() == {}


def test_an_empty_index_stays_as_it_is(world: World) -> None:
    world.write("one", {})
    world.write("two", {})
    world.refresh()
    assert (compact(world).merges, newest(world).segments) == (0, ())


def test_a_refresh_after_it_reads_only_what_changed(world: World) -> None:
    """The derived state follows: else every batch would be read again, every hour."""
    compact(world)
    assert world.refresh().changed is False
    world.write("two", whole("z", "x"))
    report = world.refresh()
    assert (report.batches_read, report.inserted, report.updated, report.removed) == (1, 1, 0, 1)
    assert {key.image_id for key in world.rows()} == {"art:a", "art:b", "art:c", "art:é page", "art:x", "art:z"}
    assert index_rows_equal_live_rows(world.store, MODEL, IDENTITY).passed


def test_another_machine_catches_up_with_what_was_merged(world: World, tmp_path: Path) -> None:
    """Its derived state is of a generation before, and so it leaves it alone and begins anew."""
    other = make_world(tmp_path, cache="other")
    assert compact(other).merges == 1
    world.write("two", whole("z"))
    assert world.refresh().removed == 1
    assert compact(other).merges == 0
    assert world.rows() == other.rows()


def test_a_segment_with_more_than_a_fifth_dead_is_written_again(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.write("1", whole(*"abcdefghij"))
    world.refresh()
    world.write("1", whole(*"abcdefgh"))
    world.refresh()
    assert compact(world).merges == 0, "a fifth is not more than a fifth"
    world.write("1", whole(*"abcdefg"))
    world.refresh()
    report = compact(world)
    assert (report.merges, report.merged, report.dropped, report.segments_after) == (1, 1, 3, 1)
    assert {key.image_id for key in world.rows()} == {f"art:{name}" for name in "abcdefg"}


def test_no_segment_holds_more_than_it_may(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact_module, "segment_rows", lambda _: 3)
    rows = world.rows()
    report = compact(world)
    assert [segment.rows for segment in newest(world).segments if segment.rows > 3] == []
    assert report.finished
    assert world.rows() == rows


def test_rows_are_copied_in_blocks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = world.rows()
    monkeypatch.setattr(compact_rows, "BLOCK_ROWS", 2)
    compact(world)
    assert world.rows() == rows
    world.write("two", whole("y"))
    assert world.refresh().removed == 1


def test_a_large_segment_is_cut_when_it_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(tmp_path)
    for name, names in (("1", "abcdef"), ("2", "ghij")):
        world.write(name, whole(*names))
    world.refresh()
    world.write("1", whole(*"abc"))
    world.refresh()
    rows = world.rows()
    monkeypatch.setattr(compact_module, "segment_rows", lambda _: 3)
    report = compact(world)
    assert [segment.rows for segment in newest(world).segments] == [2, 2, 3]
    assert (report.merges, report.merged, report.written, report.dropped) == (1, 1, 7, 3)
    assert world.rows() == rows
    world.write("2", whole("g", "j"))
    assert (world.refresh().batches_read, len(world.rows())) == (1, 5)


def test_no_merge_begins_when_the_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact_module, "segment_rows", lambda _: 4)
    world = make_world(tmp_path)
    for number in range(8):
        world.write(f"{number}", whole(f"{number}"))
        world.refresh()
    report = compact(world, max_seconds=0)
    assert (report.generation, report.finished, report.segments_after) == (8, False, 8)
    clock = iter([0.0, 9.0, 10.0, 11.0])  # begun, before the first merge, before the second, done
    report = compact_index(world.context, MODEL, IDENTITY, max_seconds=10, clock=lambda: next(clock))
    assert (report.merges, report.finished, report.segments_after, report.seconds) == (1, False, 5, 11)
    report = compact(world)
    assert (report.merges, report.finished, report.segments_after) == (1, True, 2)


def test_a_pinned_index_is_left_alone_until_it_is_released(world: World) -> None:
    index_rollback(world.context, MODEL, 5)
    before = world.files()
    report = compact(world)
    assert (report.pinned, report.finished, report.merges, report.generation) == (True, False, 0, 6)
    assert world.files() == before
    assert compaction_due(world.store, world.context.settings, MODEL, IDENTITY).wanted is False
    index_release(world.context, MODEL)
    assert compact(world).merges == 1
    assert len(world.rows()) == 7


def test_a_rollback_goes_behind_a_compaction_to_the_content_before(world: World) -> None:
    """The generation before has the same rows in other segments; nobody who goes back wants those."""
    compact(world)
    made = index_rollback(world.context, MODEL)
    assert (made.version, made.restores) == (7, 4)
    assert {key.image_id for key in world.rows()} == {"art:a", "art:b", "art:c", "art:z", "art:y"}


def test_what_was_merged_away_can_come_back_and_go_on(world: World) -> None:
    rows, said = world.rows(), answers(world)
    compact(world)
    made = index_rollback(world.context, MODEL, 5)
    assert (len(made.segments), made.restores) == (5, 5)
    assert (world.rows(), answers(world)) == (rows, said)
    index_release(world.context, MODEL)
    world.write("two", whole("z"))
    assert world.refresh().removed == 1
    assert compact(world).merges == 1
    assert index_rows_equal_live_rows(world.store, MODEL, IDENTITY).passed
    assert damaged(world) == []


def test_a_stop_leaves_the_index_as_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = world.files()
    blocks = compact_rows.LiveRows.blocks

    def told(self: compact_rows.LiveRows, start: int, stop: int) -> object:
        for number, block in enumerate(blocks(self, start, stop)):
            if number == 1:
                world.context.stop.set()
            yield block

    monkeypatch.setattr(compact_rows.LiveRows, "blocks", told)
    with pytest.raises(Stopped, match="what was whole is committed"):
        compact(world)
    assert world.files() == before
    world.context.stop.clear()
    monkeypatch.undo()
    world.write("two", whole("z"))
    assert world.refresh().batches_read == 1, "the derived state is as it was, too"
    assert compact(world).merges == 1


def test_who_loses_the_race_plans_again(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine, which does not see our lock, refreshes between our plan and our commit."""
    other = make_world(tmp_path, cache="other")
    commit = Generations.commit
    raced: list[bool] = []

    def race(self: Generations, base: GenerationManifest | None, following: GenerationManifest) -> GenerationManifest:
        if not raced:
            raced.append(True)
            world.write("two", whole("new"))
            other.refresh()
        return commit(self, base, following)

    monkeypatch.setattr(Generations, "commit", race)
    report = compact(world)
    assert (report.generation, report.merges, report.segments_after) == (7, 1, 1)
    assert {key.image_id for key in world.rows()} == {"art:a", "art:b", "art:c", "art:é page", "art:new"}
    kept = set().union(*(world.generations.referenced(world.generations.get(each)) for each in range(1, 8)))
    assert {f"{world.generations.folder}/{file}" for file in world.files()} == kept, "nothing is left of the first try"


def test_losing_every_race_is_an_error_and_takes_back_what_was_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.files()

    def lose(*_: object) -> GenerationManifest:
        raise CommitConflict("another writer was first")

    monkeypatch.setattr(Generations, "commit", lose)
    with pytest.raises(CommitConflict, match="another writer"):
        compact(world)
    assert world.files() == before


@pytest.mark.parametrize("name", ["vectors.npy", "rows.parquet"])
def test_a_damaged_segment_is_not_copied(world: World, name: str) -> None:
    """Its sha256 would be that of the damage."""
    before, path = newest(world), Path(world.store.root, world.generations.folder, newest(world).segments[2].path(name))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=path.parent.name):
        compact(world)
    assert newest(world) == before


def test_a_derived_state_that_lies_costs_the_next_refresh_and_nothing_else(world: World) -> None:
    (state,) = (world.store.cache / "indexes").iterdir()
    with sqlite3.connect(state) as connection:
        connection.execute("update placed set label = label + 1")
    connection.close()
    rows = world.rows()
    assert compact(world).merges == 1
    assert world.rows() == rows
    world.write("two", whole("z"))
    assert world.refresh().batches_read == 2
    assert len(world.rows()) == 6


def test_readers_keep_what_they_opened_when_the_files_go(world: World) -> None:
    first = world.generations.get(5)
    reader, said = Generation.open(world.generations, first), answers(world)
    compact(world)
    for path in world.generations.referenced(first) - world.generations.referenced(newest(world)):
        world.store.files.delete(path)
    found = reader.search(vector("q"), 1_000, reader.selection(regions="all"))
    assert [(hit.image_id, hit.region, hit.score) for hit in found] == said == answers(world)
    vectors, there = reader.vectors([Key("art:z", 0), Key("art:gone", 0)])
    assert there.tolist() == [True, False]
    assert np.array_equal(vectors[0], vector("z@1"))


def test_what_is_due_is_told_from_one_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(tmp_path)

    def due() -> tuple[int | None, bool, bool]:
        found = compaction_due(world.store, world.context.settings, MODEL, IDENTITY)
        return found.generation, found.wanted, found.urgent

    assert due() == (None, False, False)
    for number in range(16):
        world.write("1", whole(*(f"{each}" for each in range(number + 1))))
        world.refresh()
        if number in (2, 3, 14):
            assert due() == (number + 1, number > 2, False)
    assert due() == (16, True, True)
    compact(world)
    assert due() == (17, False, False)


KILLED = """
import sys
from pathlib import Path
from embeddings_dagster.stages.compact import compact_index
from embeddings_dagster_tests.stages.index_world import IDENTITY, MODEL, make_world
compact_index(make_world(Path(sys.argv[1])).context, MODEL, IDENTITY)
"""


@pytest.mark.parametrize(
    ("step", "committed"),
    [
        ("write:begun", False),
        ("write:published:2", False),
        ("segment:written", False),
        ("create:temporary:3", False),  # the first are the probe for exclusive creation
        ("create:linked:2", True),
        ("manifest:created", True),
    ],
)
def test_a_kill_at_any_step_changes_no_answer(
    world: World, tmp_path: Path, step: str, committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, said = world.rows(), answers(world)
    monkeypatch.setenv(KILL_AT, step)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    monkeypatch.delenv(KILL_AT)
    assert len(newest(world).segments) == (1 if committed else 5)
    assert (world.rows(), answers(world)) == (rows, said)
    assert damaged(world) == []
    assert compact(world).merges == (0 if committed else 1)
    assert (world.rows(), answers(world)) == (rows, said)
    world.write("two", whole("z"))
    report = world.refresh()
    assert (report.batches_read, report.removed) == (2 if committed else 1, 1)
    assert len(world.rows()) == 6
