"""The switch: by itself when the settings' fingerprint can answer for every batch, by hand when its owner says so."""

import threading
from pathlib import Path

import pytest

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.errors import SwitchRefused, UnknownItem
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.models import held, newest_version, register, serving
from embeddings_dagster.stages.switching import release, switch_by_hand, switch_is_due, switch_when_ready
from embeddings_dagster.store import Failure, Store
from embeddings_dagster.store.tables import RGB
from embeddings_dagster_tests.stages.index_world import (
    DIMENSION,
    IDENTITY,
    MODEL,
    NOON,
    OTHER_IDENTITY,
    World,
    make_world,
    whole,
)

SETTINGS = ModelSettings(kind="dino", model="bundled:dino")
THIRD = ModelIdentity("bundled:dino", "cccccccccccc" + "d" * 52, DIMENSION, {"weights": "y"})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def of(world: World, identity: ModelIdentity) -> World:
    """The same world, seen by another fingerprint."""
    return World(world.context, world.log, identity)


def rgb(world: World, batch: str) -> str:
    """Commit a version of `rgb_images` of a batch, with one failure so that it says something; returns its content."""
    chain = world.store.chain("rgb_images", f"art__{batch}")
    writer = chain.writer(RGB, run_id="run", label={"recipe": "r"})
    writer.fail(Failure(f"art:{batch}", 0, "h", "rgb_images", "DecodeFailed", "bad", False, NOON))
    return writer.finish(inputs={}, total=1).content


def complete(world: World, *identities: ModelIdentity) -> None:
    """One batch, encoded and indexed by each of these, the first of which serves."""
    content = rgb(world, "1")
    for identity in identities:
        mine = of(world, identity)
        mine.write("1", whole("p1"), rgb=content)
        mine.refresh()


def served(store: Store) -> str | None:
    record = serving(store, MODEL)
    return record.fingerprint if record else None


def follow(world: World, identity: ModelIdentity) -> bool:
    """What a refresh of the index does after it; returns whether it switched."""
    return switch_when_ready(world.context, MODEL, identity).switched


def test_nothing_to_switch_while_the_settings_fingerprint_serves(world: World) -> None:
    register(world.store, MODEL, IDENTITY, SETTINGS)
    assert not follow(world, IDENTITY)


def test_a_fingerprint_without_index_does_not_serve(world: World) -> None:
    register(world.store, MODEL, IDENTITY, SETTINGS)
    outcome = switch_when_ready(world.context, MODEL, OTHER_IDENTITY)
    assert (outcome.switched, outcome.reasons) == (False, ("ba9876543210 has no index yet",))


def test_the_switch_follows_when_all_batches_are_complete_and_the_checks_pass(world: World) -> None:
    contents = {batch: rgb(world, batch) for batch in ("1", "2")}
    new = of(world, OTHER_IDENTITY)
    for batch, content in contents.items():
        world.write(batch, whole(f"p{batch}"), rgb=content)
    world.refresh()

    def reasons() -> tuple[str, ...]:
        return switch_when_ready(world.context, MODEL, OTHER_IDENTITY).reasons

    new.write("1", whole("p1"), rgb=contents["1"])
    new.refresh()
    assert reasons() == ("1 of 2 batches not encoded yet (art__2)",)

    new.write("2", whole("p2"), rgb="an older state of rgb_images")
    assert reasons() == (
        "1 of 2 batches encoded from pictures that changed since (art__2)",
        "its index is behind: 1 batches changed since, of 2",
    )
    assert served(world.store) == IDENTITY.fingerprint
    assert "cannot serve yet" in world.log[-1]

    new.write("2", whole("p2"), rgb=contents["2"])
    assert reasons() == ("its index is behind: 1 batches changed since, of 2",)
    new.refresh()
    assert switch_is_due(world.store, MODEL, OTHER_IDENTITY)
    outcome = switch_when_ready(world.context, MODEL, OTHER_IDENTITY)
    assert (outcome.switched, outcome.reasons, outcome.serving) == (True, (), OTHER_IDENTITY.fingerprint)
    assert (outcome.before, served(world.store)) == (IDENTITY.fingerprint, OTHER_IDENTITY.fingerprint)
    assert not switch_is_due(world.store, MODEL, OTHER_IDENTITY)
    assert not follow(world, OTHER_IDENTITY)


def test_settings_that_go_back_are_followed_though_nothing_is_to_be_encoded(world: World) -> None:
    complete(world, IDENTITY, OTHER_IDENTITY)
    assert follow(world, OTHER_IDENTITY)
    assert switch_is_due(world.store, MODEL, IDENTITY)
    assert follow(world, IDENTITY)
    assert held(world.store, MODEL) is None


def test_switching_by_hand_takes_the_first_digits_and_is_one_commit(world: World) -> None:
    complete(world, IDENTITY, OTHER_IDENTITY)
    before = newest_version(world.store, MODEL)
    done = switch_by_hand(world.store, MODEL, IDENTITY, OTHER_IDENTITY.fp12[:4].upper())
    assert (done.serving, done.before) == (OTHER_IDENTITY.fingerprint, IDENTITY.fingerprint)
    assert (done.switched, done.held) == (True, True)
    assert served(world.store) == OTHER_IDENTITY.fingerprint
    assert newest_version(world.store, MODEL) == before + 1
    assert not switch_by_hand(world.store, MODEL, IDENTITY, OTHER_IDENTITY.fp12).switched
    assert newest_version(world.store, MODEL) == before + 1, "the same again says nothing new"


@pytest.mark.parametrize("digits", ["c0ffee", ""])
def test_switching_to_nothing_known_names_what_is(world: World, digits: str) -> None:
    register(world.store, MODEL, IDENTITY, SETTINGS)
    with pytest.raises(UnknownItem, match="registered: 0123456789ab"):
        switch_by_hand(world.store, MODEL, IDENTITY, digits)


def test_what_lacks_something_is_refused_with_the_reasons_unless_forced(world: World) -> None:
    complete(world, IDENTITY, OTHER_IDENTITY)
    world.write("2", whole("p2"), rgb=rgb(world, "2"))
    with pytest.raises(SwitchRefused, match=r"cannot serve toy yet: 1 of 2 batches not encoded yet .*--force"):
        switch_by_hand(world.store, MODEL, OTHER_IDENTITY)
    assert served(world.store) == IDENTITY.fingerprint
    done = switch_by_hand(world.store, MODEL, OTHER_IDENTITY, force=True)
    assert (done.serving, done.held) == (OTHER_IDENTITY.fingerprint, False)
    assert done.reasons == ("1 of 2 batches not encoded yet (art__2)",)


def test_what_has_no_index_is_refused_even_by_force(world: World) -> None:
    complete(world, IDENTITY)
    register(world.store, MODEL, OTHER_IDENTITY, SETTINGS)
    with pytest.raises(SwitchRefused, match="ba9876543210 has no index yet"):
        switch_by_hand(world.store, MODEL, OTHER_IDENTITY, force=True)


def test_a_switch_by_hand_back_to_an_older_one_is_held_against_every_refresh(world: World) -> None:
    complete(world, IDENTITY, OTHER_IDENTITY)
    assert follow(world, OTHER_IDENTITY)
    assert switch_by_hand(world.store, MODEL, OTHER_IDENTITY, IDENTITY.fp12).held
    assert not switch_is_due(world.store, MODEL, OTHER_IDENTITY)
    outcome = switch_when_ready(world.context, MODEL, OTHER_IDENTITY)
    assert (outcome.switched, outcome.held) == (False, True)
    assert outcome.reasons == ("0123456789ab was switched to by hand, and is held",)
    assert served(world.store) == IDENTITY.fingerprint


def test_what_serves_can_be_held_before_the_new_one_is_complete(world: World) -> None:
    complete(world, IDENTITY)
    assert not switch_by_hand(world.store, MODEL, OTHER_IDENTITY, IDENTITY.fp12).switched
    complete(world, OTHER_IDENTITY)
    assert not follow(world, OTHER_IDENTITY)


def test_a_hold_ends_when_it_is_released(world: World) -> None:
    complete(world, IDENTITY, OTHER_IDENTITY)
    switch_by_hand(world.store, MODEL, OTHER_IDENTITY, IDENTITY.fp12)
    release(world.store, MODEL)
    assert switch_is_due(world.store, MODEL, OTHER_IDENTITY)
    assert follow(world, OTHER_IDENTITY)


def test_a_hold_ends_when_the_settings_fingerprint_is_switched_to(world: World) -> None:
    complete(world, IDENTITY, OTHER_IDENTITY)
    switch_by_hand(world.store, MODEL, OTHER_IDENTITY, IDENTITY.fp12)
    assert not switch_by_hand(world.store, MODEL, OTHER_IDENTITY).held
    assert (served(world.store), held(world.store, MODEL)) == (OTHER_IDENTITY.fingerprint, None)


def test_a_hold_ends_when_the_settings_ask_for_another_and_does_not_come_back(world: World) -> None:
    complete(world, IDENTITY, OTHER_IDENTITY, THIRD)
    switch_by_hand(world.store, MODEL, OTHER_IDENTITY, IDENTITY.fp12)
    assert switch_is_due(world.store, MODEL, THIRD)
    assert follow(world, THIRD)
    assert follow(world, OTHER_IDENTITY), "the hold was against the settings as they were then"


def test_a_hold_ends_when_the_settings_ask_for_what_is_held(world: World) -> None:
    complete(world, IDENTITY, OTHER_IDENTITY)
    switch_by_hand(world.store, MODEL, OTHER_IDENTITY, IDENTITY.fp12)
    assert switch_is_due(world.store, MODEL, IDENTITY)
    assert not follow(world, IDENTITY)
    assert held(world.store, MODEL) is None
    assert not switch_is_due(world.store, MODEL, IDENTITY)


def test_registering_leaves_a_hold_as_it_is(world: World) -> None:
    complete(world, IDENTITY, OTHER_IDENTITY)
    switch_by_hand(world.store, MODEL, OTHER_IDENTITY, IDENTITY.fp12)
    before = held(world.store, MODEL)
    register(world.store, MODEL, THIRD, SETTINGS)
    assert before is not None
    assert held(world.store, MODEL) == before
    assert before.against == OTHER_IDENTITY.fingerprint


def test_a_switch_by_hand_wins_over_one_that_follows_at_the_same_moment(world: World) -> None:
    complete(world, IDENTITY, OTHER_IDENTITY)
    for _ in range(5):
        release(world.store, MODEL)
        threads = [
            threading.Thread(target=switch_when_ready, args=(world.context, MODEL, OTHER_IDENTITY)),
            threading.Thread(target=switch_by_hand, args=(world.store, MODEL, OTHER_IDENTITY, IDENTITY.fp12)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert served(world.store) == IDENTITY.fingerprint
