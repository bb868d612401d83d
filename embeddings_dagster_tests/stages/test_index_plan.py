"""The winner and the difference, to the last case."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.ids import Key
from embeddings_dagster.index import Consumed
from embeddings_dagster.stages.index_plan import (
    Offer,
    Placed,
    Row,
    compare_batches,
    difference,
    wanted_rows,
    winner,
)

keys = st.builds(Key, st.sampled_from(["s:a", "s:b", "s:c"]), st.integers(0, 2))
rows = st.builds(Row, st.sampled_from(["h1", "h2"]), st.sampled_from(["b1", "b2"]))
offers = st.builds(
    Offer,
    st.sampled_from(["b1", "b2", "b3", "b4"]),
    st.sampled_from(["", "2025", "2026"]),
    st.booleans(),
    st.dictionaries(st.integers(0, 2), st.sampled_from(["h1", "h2"]), min_size=1),
)
offer_lists = st.lists(offers, max_size=4, unique_by=lambda offer: offer.batch)


def offer(batch: str, newest: str = "2026", clean: bool = True) -> Offer:
    return Offer(batch, newest, clean, {0: f"h-{batch}"})


def test_the_newest_batch_wins() -> None:
    assert winner([offer("b1", "2026-02"), offer("b2", "2026-01")]) == offer("b1", "2026-02")


def test_of_equally_new_batches_the_last_key_wins() -> None:
    assert winner([offer("b2"), offer("b10"), offer("b1")]) == offer("b2")


def test_a_batch_without_failure_beats_a_newer_one_with() -> None:
    assert winner([offer("b1", "2025"), offer("b2", "2026", clean=False)]) == offer("b1", "2025")


def test_an_image_that_failed_in_part_everywhere_is_shown_in_part() -> None:
    assert winner([offer("b1", "2025", clean=False), offer("b2", clean=False)]) == offer("b2", clean=False)


def test_nobody_wins_where_nothing_is_offered() -> None:
    assert winner([]) is None


def test_regions_are_never_mixed_from_two_batches() -> None:
    old, new = Offer("b1", "2025", True, {0: "h", 1: "h", 2: "h"}), Offer("b2", "2026", True, {0: "h2", 1: "h2"})
    assert wanted_rows({"s:a": [old, new]}) == {Key("s:a", 0): Row("h2", "b2"), Key("s:a", 1): Row("h2", "b2")}


@given(offer_lists)
def test_no_offer_is_better_than_the_winner(candidates: list[Offer]) -> None:
    best = winner(candidates)
    assert (best is None) == (not candidates)
    for each in candidates:
        assert best is not None
        assert (each.clean, each.newest, each.batch) <= (best.clean, best.newest, best.batch)


@given(st.dictionaries(keys, rows), st.dictionaries(keys, rows))
def test_applying_the_difference_gives_what_is_wanted(wanted: dict[Key, Row], present: dict[Key, Row]) -> None:
    placed = {key: Placed(row, "segment", label) for label, (key, row) in enumerate(present.items())}
    made = difference(wanted, placed)
    dead = {place.label for place in made.dead}
    after = {key: place.row for key, place in placed.items() if place.label not in dead} | made.written
    assert after == wanted
    assert made.written.items().isdisjoint(present.items())
    assert len(made.dead) == len(made.updated) + len(made.removed)


def test_a_row_of_another_batch_is_written_again() -> None:
    """The vector is the same; where to find the picture is not."""
    before = {Key("s:a", 0): Placed(Row("h", "b1"), "segment", 0)}
    assert difference({Key("s:a", 0): Row("h", "b2")}, before).updated == {Key("s:a", 0): Row("h", "b2")}


def changes(current: Mapping[str, Consumed], consumed: Mapping[str, Consumed]) -> tuple[list[str], ...]:
    found = compare_batches(current, consumed)
    return sorted(found.read), sorted(found.reordered), sorted(found.gone)


def test_batches_are_read_when_rows_or_failures_differ() -> None:
    before = {"b1": Consumed(1, "c"), "b2": Consumed(1, "c"), "b3": Consumed(1, "c")}
    now = {"b1": Consumed(2, "d"), "b2": Consumed(2, "c", failed="f"), "b3": Consumed(1, "c"), "b4": Consumed(1, "c")}
    assert changes(now, before) == (["b1", "b2", "b4"], [], [])


def test_a_batch_that_only_moved_in_time_is_not_read() -> None:
    assert changes({"b1": Consumed(1, "c", newest="2026")}, {"b1": Consumed(1, "c")}) == ([], ["b1"], [])


def test_a_batch_that_changed_and_moved_in_time_is_both() -> None:
    now = {"b1": Consumed(2, "d", newest="2026"), "b2": Consumed(1, "c", newest="2026")}
    assert changes(now, {"b1": Consumed(1, "c", newest="2025")}) == (["b1", "b2"], ["b1"], [])


def test_a_vanished_batch_is_gone() -> None:
    assert changes({}, {"b1": Consumed(1, "c")}) == ([], [], ["b1"])


def test_a_fold_changes_nothing() -> None:
    assert not compare_batches({"b1": Consumed(9, "c", "f", "n")}, {"b1": Consumed(1, "c", "f", "n")})
