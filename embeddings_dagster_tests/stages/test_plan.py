"""The plan: every wanted key is in exactly one class, and for the reason it should be."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.ids import Key
from embeddings_dagster.stages.plan import plan
from embeddings_dagster.store import Failure

keys = st.builds(Key, st.sampled_from(["s:a", "s:b", "s:c", "s:d"]), st.integers(0, 2))
hashes = st.sampled_from(["h1", "h2"])
states = st.dictionaries(keys, hashes, max_size=8)


def failure(key: Key, input_hash: str, retryable: bool = False) -> Failure:
    return Failure(
        key.image_id, key.region, input_hash, "rgb_images", "DecodeFailed", "bad", retryable, datetime.now(UTC)
    )


failed_states = st.dictionaries(keys, st.tuples(hashes, st.booleans()), max_size=6).map(
    lambda found: {key: failure(key, *state) for key, state in found.items()}
)

A, B = Key("s:a", 0), Key("s:b", 0)


@given(states, states, failed_states, st.booleans(), st.booleans())
def test_the_classes_partition_what_is_wanted(
    wanted: dict[Key, str], present: dict[Key, str], failed: dict[Key, Failure], retry: bool, force: bool
) -> None:
    made = plan(wanted, present, failed, retry_failed=retry, force=force)
    classes = [made.new, made.changed, made.retried, made.kept, made.failed]
    assert sorted(key for group in classes for key in group) == sorted(wanted)
    assert made.gone == (present.keys() | failed.keys()) - wanted.keys()


@given(states, states, failed_states)
def test_an_image_is_made_whole_or_left_alone(
    wanted: dict[Key, str], present: dict[Key, str], failed: dict[Key, Failure]
) -> None:
    made = plan(wanted, present, failed)
    assert all((key.image_id in made.images) == (key in made.todo) for key in wanted)


def test_the_images_are_gathered_once_however_often_they_are_asked_for() -> None:
    made = plan({A: "1", B: "2"}, {}, {})
    assert made.images == {"s:a", "s:b"}
    assert made.images is made.images, "a loop over the images of a batch asks for each of them"


@given(states, states)
def test_what_is_kept_is_equal_and_what_is_made_differs_or_has_a_sibling_that_does(
    wanted: dict[Key, str], present: dict[Key, str]
) -> None:
    made = plan(wanted, present, {})
    assert all(present[key] == wanted[key] for key in made.kept)
    differing = {key.image_id for key in wanted if present.get(key) != wanted[key]}
    assert made.images == differing


@given(states)
def test_planning_what_is_there_does_nothing(state: dict[Key, str]) -> None:
    made = plan(state, state, {})
    assert not made.todo
    assert not made.gone


@given(states)
def test_force_makes_everything(state: dict[Key, str]) -> None:
    assert plan(state, state, {}, force=True).todo == state.keys()


def test_a_failure_is_left_alone_until_its_input_changes_or_it_is_asked_for() -> None:
    recorded = {A: failure(A, "h1")}
    assert plan({A: "h1"}, {}, recorded).failed == {A}
    assert plan({A: "h2"}, {}, recorded).changed == {A}
    assert plan({A: "h1"}, {}, recorded, retry_failed=True).retried == {A}
    assert plan({A: "h1"}, {}, recorded, force=True).retried == {A}


def test_a_failure_that_can_heal_is_tried_again() -> None:
    assert plan({A: "h1"}, {}, {A: failure(A, "h1", retryable=True)}).retried == {A}


def test_a_failed_input_with_an_old_row_is_still_a_failure() -> None:
    assert plan({A: "h2"}, {A: "h1"}, {A: failure(A, "h2")}).failed == {A}


def test_a_failure_no_longer_wanted_is_gone() -> None:
    assert plan({B: "h"}, {B: "h"}, {A: failure(A, "h1")}).gone == {A}
