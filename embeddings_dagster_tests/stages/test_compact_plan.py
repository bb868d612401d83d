"""Which segments become one: full tiers, lowest first; then what is worn; nothing larger than it may be."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.index import DeletionsEntry, SegmentEntry, SegmentRecall
from embeddings_dagster.index.recall import KindRecall
from embeddings_dagster.stages.compact_plan import (
    DEAD_SHARE,
    FAN_OUT,
    FAR_OVERFULL,
    MOST_MERGED,
    Merge,
    is_far_overfull,
    next_merge,
    tier_of,
)


def segment(name: str, live: int, dead: int = 0) -> SegmentEntry:
    deletions = DeletionsEntry(f"deletions/{name}.npy", dead, 0, "") if dead else None
    return SegmentEntry(name, "flat", live + dead, {}, deletions)


def segments(*sizes: int) -> list[SegmentEntry]:
    return [segment(f"{number}", size) for number, size in enumerate(sizes)]


def planned(*sizes: int, most: int = 1_000_000) -> tuple[list[int], tuple[int, ...]] | None:
    """The sizes that are merged first, and those that come of it."""
    merge = next_merge(segments(*sizes), most)
    return None if merge is None else ([each.live for each in merge.segments], merge.parts)


def test_a_tier_is_four_times_the_one_below() -> None:
    assert [tier_of(rows) for rows in (0, 1, 1_000, 1_001, 4_000, 4_001, 16_000, 1_000_000)] == [0, 0, 0, 1, 1, 2, 2, 5]


def test_three_of_a_size_are_left_and_four_are_merged() -> None:
    assert planned() is None
    assert planned(10, 900, 3) is None
    assert planned(10, 900, 3, 40) == ([10, 900, 3, 40], (953,)), "in the order they have"
    assert planned(10, 2_000, 20_000, 200_000) is None, "each is of another tier"


def test_the_lowest_full_tier_comes_first_and_is_merged_whole() -> None:
    assert planned(2_000, 3_000, 4_000, 1_500, 1, 2, 3, 4, 5) == ([1, 2, 3, 4, 5], (15,))
    assert planned(2_000, 3_000, 4_000, 1_500, 1, 2, 3) == ([2_000, 3_000, 4_000, 1_500], (10_500,))


def test_nothing_grows_beyond_what_a_segment_may_hold() -> None:
    assert planned(30, 40, 30, 50, most=100) == ([30, 40, 30], (100,))
    assert planned(60, 70, 80, 90, most=100) is None, "no two of them fit"
    assert planned(100, 100, 100, 100, most=100) is None
    assert planned(100, 250, 30, 10, 20, most=100) is None, "those that are full are of no tier"


def test_so_many_at_once_and_no_more() -> None:
    merge = next_merge(segments(*[1] * 100))
    assert merge is not None
    assert (len(merge.segments), merge.parts) == (MOST_MERGED, (MOST_MERGED,))


def test_a_segment_with_more_than_a_fifth_dead_is_written_again_the_worst_first() -> None:
    assert next_merge([segment("a", 80, 20)]) is None
    assert next_merge([segment("a", 79, 21)]) == Merge((segment("a", 79, 21),), (79,))
    worst = segment("b", 10, 90)
    assert next_merge([segment("a", 79, 21), worst]) == Merge((worst,), (10,))
    tier = segments(1, 1, 1, 1)
    assert next_merge([worst, *tier]) == Merge((worst, *tier), (14,)), "a full tier takes its dead along"


def test_a_segment_that_is_too_large_is_cut_when_it_is_written_again() -> None:
    assert planned(250, most=100) is None
    large = segment("a", 250, 100)
    assert next_merge([large], 100) == Merge((large,), (83, 83, 84))


def test_what_was_tuned_for_less_than_is_asked_for_is_written_again() -> None:
    def tuned(name: str, target: float, mean: float) -> SegmentEntry:
        kinds = (KindRecall("rows", 256, 32, mean, mean, ()),)
        return replace(segment(name, 50_000), recall=SegmentRecall(target, 10, 32, kinds))

    low, high = tuned("low", 0.9, 0.93), tuned("high", 0.9, 0.97)
    assert next_merge([high, low], recall_target=0.9) is None
    assert next_merge([high, low], recall_target=0.95) == Merge((low,), (50_000,))
    assert next_merge([tuned("best", 0.95, 0.94)], recall_target=0.95) is None, "tuning it again would change nothing"


def test_a_segment_without_a_live_row_vanishes() -> None:
    dead = segment("a", 0, 5)
    assert next_merge([dead]) == Merge((dead,), ())


def test_a_tier_is_far_overfull_when_searches_feel_it() -> None:
    assert not is_far_overfull(segments(*[1] * (FAR_OVERFULL - 1)))
    assert is_far_overfull(segments(*[1] * FAR_OVERFULL))
    assert not is_far_overfull(segments(*[60] * FAR_OVERFULL), 100), "nothing can be done about it"


sizes = st.lists(st.tuples(st.integers(0, 9_000), st.integers(0, 3_000)).filter(any), max_size=60)


@given(sizes, st.sampled_from([500, 2_000, 20_000, 1_000_000]))
def test_merging_until_nothing_is_due_ends_with_all_rows_in_few_segments(
    made: list[tuple[int, int]], most: int
) -> None:
    present = [segment(f"s{number}", *each) for number, each in enumerate(made)]
    live = sum(each.live for each in present)
    largest = max((each.live for each in present), default=0)
    copied = steps = 0
    while (merge := next_merge(present, most)) is not None:
        assert merge.rows == sum(each.live for each in merge.segments)
        assert all(0 < part <= most for part in merge.parts)
        assert all(each in present for each in merge.segments)
        present = [each for each in present if each not in merge.segments]
        present += [segment(f"m{steps}-{number}", part) for number, part in enumerate(merge.parts)]
        copied, steps = copied + merge.rows, steps + 1
        assert steps <= 4 * (len(made) + 1)
    assert sum(each.live for each in present) == live
    assert all(each.rows - each.live <= DEAD_SHARE * each.rows for each in present)
    tiers = tier_of(max(most, largest)) + 1
    assert len(present) <= (FAN_OUT - 1) * tiers + 2 * live // most + 2


def test_a_row_is_copied_once_a_tier_and_not_once_a_refresh() -> None:
    """A year of a hundred rows an hour: how often rows are written again decides what compaction costs."""
    present: list[SegmentEntry] = []
    copied = rows = most = 0
    for hour in range(24 * 365):
        present.append(segment(f"{hour}", 100))
        rows += 100
        while (merge := next_merge(present)) is not None:
            present = [each for each in present if each not in merge.segments]
            present += [segment(f"{hour}+", part) for part in merge.parts]
            copied += merge.rows
        most = max(most, len(present))
    assert rows == 876_000
    assert copied / rows < 10
    assert most <= (FAN_OUT - 1) * (tier_of(rows) + 1)
