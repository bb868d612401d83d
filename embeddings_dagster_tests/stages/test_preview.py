"""What a run would do: upper bounds that no run exceeds, and estimates that scale past runs."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.ids import Key
from embeddings_dagster.stages.preview import BatchState, Pace, StagePreview, State, estimate, preview_batch
from embeddings_dagster.store import Failure

A, B, C = Key("s:a", 0), Key("s:b", 0), Key("s:c", 0)


def failure(key: Key, input_hash: str, *, retryable: bool) -> Failure:
    return Failure(*key, input_hash, "rgb_images", "DecodeFailed", "cut short", retryable, datetime.now(UTC))


def done(ledger: dict[Key, str]) -> BatchState:
    """A batch that is current: each input made, the next stage's hash derived from it."""
    converted = {key: f"rgb-{value}" for key, value in ledger.items()}
    return BatchState("s__b", ledger, State(ledger), State(converted), converted, {"clip": State(converted)})


def counts(stages: list[StagePreview]) -> dict[str, tuple[int, int, int, int, int, int]]:
    return {each.stage: (each.new, each.changed, each.retried, each.kept, each.waiting, each.gone) for each in stages}


def test_a_current_batch_has_nothing_to_do() -> None:
    assert counts(preview_batch(done({A: "1", B: "2"}))) == {
        "raw_images": (0, 0, 0, 2, 0, 0),
        "rgb_images": (0, 0, 0, 2, 0, 0),
        "clip_embeddings": (0, 0, 0, 2, 0, 0),
    }


def test_a_new_a_changed_and_a_gone_image_go_all_the_way_down() -> None:
    before = done({A: "1", B: "2"})
    after = BatchState("s__b", {A: "9", C: "3"}, before.raw, before.rgb, before.converted, before.models)
    assert set(counts(preview_batch(after)).values()) == {(1, 1, 0, 0, 0, 1)}


def test_other_pixels_leave_raw_images_alone() -> None:
    before = done({A: "1"})
    after = BatchState("s__b", before.ledger, before.raw, before.rgb, {A: "other"}, before.models)
    assert counts(preview_batch(after)) == {
        "raw_images": (0, 0, 0, 1, 0, 0),
        "rgb_images": (0, 1, 0, 0, 0, 0),
        "clip_embeddings": (0, 1, 0, 0, 0, 0),
    }


def test_a_new_model_encodes_what_is_there() -> None:
    before = done({A: "1", B: "2"})
    after = BatchState("s__b", before.ledger, before.raw, before.rgb, before.converted, {"dino": State()})
    assert counts(preview_batch(after))["dino_embeddings"] == (2, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("retryable", "retry_failed", "retried"), [(True, False, 1), (False, True, 1), (False, False, 0)]
)
def test_a_recorded_failure_is_tried_again_when_it_may_heal_or_on_request(
    retryable: bool, retry_failed: bool, retried: int
) -> None:
    batch = done({A: "1"})
    state = State({}, {A: failure(A, "rgb-1", retryable=retryable)})
    stages = counts(
        preview_batch(
            BatchState("s__b", batch.ledger, batch.raw, state, batch.converted, {}), retry_failed=retry_failed
        )
    )
    assert stages["rgb_images"] == (0, 0, retried, 0, 1 - retried, 0)


@given(
    st.dictionaries(st.sampled_from([A, B, C]), st.sampled_from("12")),
    st.dictionaries(st.sampled_from([A, B, C]), st.sampled_from("12")),
    st.booleans(),
)
def test_every_wanted_image_is_counted_once_at_every_stage(
    before: dict[Key, str], after: dict[Key, str], force: bool
) -> None:
    state = done(before)
    stages = preview_batch(BatchState("s__b", after, state.raw, state.rgb, state.converted, state.models), force=force)
    for each in stages:
        assert each.todo + each.kept + each.waiting == len(after)
        assert each.gone == len(before.keys() - after.keys())
        assert each.kept == (0 if force else sum(before.get(key) == value for key, value in after.items()))


def test_an_estimate_scales_past_runs_and_names_what_it_cannot_know() -> None:
    stages = [StagePreview("raw_images", 10, 0, 0, 0, 0, 0), StagePreview("clip_embeddings", 5, 3, 2, 7, 0, 0),
              StagePreview("dino_embeddings", 0, 0, 0, 9, 0, 0)]  # fmt: skip
    found = estimate(stages, {"raw_images": Pace(rows=100, seconds=20.0, bytes=1000)})
    assert (found.seconds, found.bytes, found.unknown) == (2.0, 100.0, ("clip_embeddings",))
