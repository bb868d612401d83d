"""Rolling back, staying there, and going on."""

from pathlib import Path

import pytest

from embeddings_dagster.errors import IndexUnavailable, UnknownItem
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Generation
from embeddings_dagster.stages.index_versions import index_list, index_release, index_rollback
from embeddings_dagster_tests.index.helpers import vector
from embeddings_dagster_tests.stages.index_world import IDENTITY, MODEL, OTHER_IDENTITY, World, make_world, whole


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An index of three generations: `a`, then `b` as well, then `b` alone."""
    world = make_world(tmp_path)
    for pictures in (whole("a"), whole("a", "b"), whole("b")):
        world.write("1", pictures)
        world.refresh()
    return world


def images(world: World) -> set[str]:
    return {key.image_id for key in world.rows()}


def test_a_rollback_brings_back_the_generation_before(world: World) -> None:
    made = index_rollback(world.context, MODEL)
    assert (made.version, made.pinned, made.restores) == (4, True, 2)
    assert images(world) == {"art:a", "art:b"}


def test_rolling_back_again_goes_one_further(world: World) -> None:
    index_rollback(world.context, MODEL)
    assert index_rollback(world.context, MODEL).restores == 1
    assert images(world) == {"art:a"}
    with pytest.raises(UnknownItem, match="no earlier generation that was made of other batches"):
        index_rollback(world.context, MODEL)


def test_any_generation_may_be_named(world: World) -> None:
    assert index_rollback(world.context, MODEL, 1).restores == 1
    assert images(world) == {"art:a"}
    with pytest.raises(UnknownItem, match=r"no generation 9 \(there: 1, 2, 3, 4\)"):
        index_rollback(world.context, MODEL, 9)


def test_a_refresh_waits_while_it_is_pinned_and_says_so(world: World) -> None:
    index_rollback(world.context, MODEL, 1)
    world.write("2", whole("c"))
    before = world.files()
    report = world.refresh()
    assert (report.pinned, report.changed, report.generation) == (True, False, 4)
    assert world.files() == before
    assert any("pinned at generation 4" in line and "rollback --release" in line for line in world.log)


def test_after_the_release_a_refresh_catches_up(world: World) -> None:
    index_rollback(world.context, MODEL, 1)
    world.write("2", whole("c"))
    released = index_release(world.context, MODEL)
    assert (released.version, released.pinned) == (5, False)
    assert images(world) == {"art:a"}
    report = world.refresh()
    assert (report.pinned, report.inserted, report.removed) == (False, 2, 1)
    assert images(world) == {"art:b", "art:c"}


def test_releasing_what_is_not_pinned_changes_nothing(world: World) -> None:
    assert index_release(world.context, MODEL).version == 3
    assert world.generations.numbers() == [1, 2, 3]


def test_a_reader_keeps_its_generation_through_a_rollback(world: World) -> None:
    reader = world.open()
    index_rollback(world.context, MODEL, 1)
    assert [hit.image_id for hit in reader.search(vector("x"), 5)] == ["art:b"]
    assert [hit.image_id for hit in world.open().search(vector("x"), 5)] == ["art:a"]


def test_an_old_reader_and_a_new_one_see_their_own_state(world: World) -> None:
    first = Generation.open(world.generations, world.generations.get(1))
    assert [hit.image_id for hit in first.search(vector("x"), 5)] == ["art:a"]


def test_a_generation_whose_files_are_gone_cannot_come_back(world: World) -> None:
    first = world.generations.get(1).segments[0]
    gone = Path(world.store.root, world.generations.folder, first.path("vectors.npy"))
    gone.unlink()
    with pytest.raises(UnknownItem, match=r"generation 1 .* cannot come back: .*vectors\.npy was removed"):
        index_rollback(world.context, MODEL, 1)
    assert world.generations.numbers() == [1, 2, 3]


def test_without_an_index_there_is_nothing_to_roll_back(tmp_path: Path) -> None:
    context = make_world(tmp_path).context
    for act in (index_rollback, index_release):
        with pytest.raises(IndexUnavailable, match=r"'toy' has no index yet.*embeddings run"):
            act(context, MODEL)


def test_lists_generations_newest_first_the_serving_fingerprint_before_others(world: World) -> None:
    index_rollback(world.context, MODEL, 2)
    other = World(world.context, world.log, OTHER_IDENTITY)
    other.write("1", whole("a"))
    other.refresh()
    listed = index_list(world.store, MODEL)
    assert [(each.fp12, each.generation, each.rows, each.current, each.serving, each.pinned) for each in listed] == [
        (IDENTITY.fp12, 4, 2, True, True, True),
        (IDENTITY.fp12, 3, 1, False, True, False),
        (IDENTITY.fp12, 2, 2, False, True, False),
        (IDENTITY.fp12, 1, 1, False, True, False),
        (OTHER_IDENTITY.fp12, 1, 1, True, False, False),
    ]
    assert [each.restores for each in listed] == [2, None, None, None, None]
    assert images(world) == {key.image_id for key in [Key("art:a", 0), Key("art:b", 0)]}


def test_lists_nothing_where_nothing_is(tmp_path: Path) -> None:
    assert index_list(make_world(tmp_path).store, MODEL) == []
