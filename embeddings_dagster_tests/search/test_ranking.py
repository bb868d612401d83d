"""The stream of hits against sorting everything: grouped, folded, from whatever step it begins with."""

from collections.abc import Hashable, Sequence
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.ids import Key
from embeddings_dagster.search.copies import marks_of
from embeddings_dagster.search.ranking import Fetch, Found, Group, Row, ranked


def row(image: str, region: int, score: float, hash_: str = "") -> Row:
    return Row(Key(image, region), score, (score,), "art__1", hash_)


def fetch_from(rows: Sequence[Row], asked: list[int] | None = None) -> Fetch:
    ordered = sorted(rows, key=lambda each: each.order)

    def fetch(count: int) -> Found:
        if asked is not None:
            asked.append(count)
        return Found(ordered[:count], len(ordered) < count)

    return fetch


def alone(each: Row) -> Sequence[Hashable]:
    return [each.key]


ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from([f"art:{name}" for name in "abcdefgh"]),
        st.integers(0, 6),
        st.integers(-3, 3).map(float),
        st.sampled_from(["", "h1", "h2", "h3"]),
    ),
    max_size=40,
    unique_by=lambda each: each.key,
)


@given(ROWS, st.integers(1, 9), st.integers(1, 4))
def test_without_groups_it_is_the_order_of_all_rows(rows: list[Row], first: int, spare: int) -> None:
    found = [group.best for group in ranked(fetch_from(rows), alone, first, spare)]
    assert found == sorted(rows, key=lambda each: each.order)


@given(ROWS, st.integers(1, 9), st.integers(1, 4), st.booleans(), st.booleans())
def test_each_group_is_shown_once_by_its_best_row_in_order(
    rows: list[Row], first: int, spare: int, group: bool, fold: bool
) -> None:
    clusters = {"art:a": "x", "art:b": "x"}
    marks = marks_of(group=group, fold=fold, clusters=clusters)
    found = list(ranked(fetch_from(rows), marks, first, spare))
    assert [each.best for each in found] == sorted((each.best for each in found), key=lambda each: each.order)
    bests = [each.best for each in found]
    for place, one in enumerate(bests):
        for other in bests[place + 1 :]:
            assert not set(marks(one)) & set(marks(other)), "two hits that are one"
    assert bests[:1] == sorted(rows, key=lambda each: each.order)[:1]
    if group and not fold:
        assert {each.key.image_id for each in bests} == {each.key.image_id for each in rows}
    if not group and not fold:
        assert len(bests) == len(rows)


@given(ROWS, st.integers(1, 9), st.integers(1, 4), st.booleans(), st.booleans())
def test_what_is_one_hit_does_not_hang_on_where_a_step_ends(
    rows: list[Row], first: int, spare: int, group: bool, fold: bool
) -> None:
    marks = marks_of(group=group, fold=fold, clusters={"art:a": "x", "art:b": "x"})
    at_once = [each.best for each in ranked(fetch_from(rows), marks, 1_000, 1)]
    assert [each.best for each in ranked(fetch_from(rows), marks, first, spare)] == at_once


def test_pages_that_share_a_panel_are_one_hit_only_where_that_panel_was_found() -> None:
    rows = [row("art:1", 3, 0.9, "best"), row("art:1", 2, 0.8, "blank"), row("art:2", 1, 0.8, "blank"),
            row("art:2", 4, 0.7, "other")]  # fmt: skip
    marks = marks_of(group=True, fold=True, clusters={})
    assert [each.best.key for each in ranked(fetch_from(rows), marks, 9, 1)] == [("art:1", 3), ("art:2", 1)]
    (one,) = ranked(fetch_from(rows[1:]), marks, 9, 1)
    assert (one.best.key, list(one.folded)) == (("art:1", 2), ["art:2"])


def test_a_group_says_what_else_is_in_it() -> None:
    rows = [row("art:a", 1, 0.9), row("art:a", 2, 0.8), row("art:b", 0, 0.7, "h"), row("art:c", 0, 0.6, "h")]
    one, two = ranked(fetch_from(rows), marks_of(group=True, fold=True, clusters={}), 10, 1)
    assert (one.best.key, [each.key.region for each in one.others], list(one.folded)) == (("art:a", 1), [2], [])
    assert (two.best.key, two.others, list(two.folded)) == (("art:b", 0), [], ["art:c"])


def test_a_row_that_belongs_to_two_groups_joins_the_better() -> None:
    rows = [row("art:a", 0, 0.9, "h"), row("art:b", 0, 0.8), row("art:c", 0, 0.7, "h")]
    marks = marks_of(group=False, fold=True, clusters={"art:b": "x", "art:c": "x"})
    one, two = ranked(fetch_from(rows), marks, 10, 1)
    assert (one.best.key.image_id, list(one.folded)) == ("art:a", ["art:c"])
    assert (two.best.key.image_id, list(two.folded)) == ("art:b", [])


def test_ten_thousand_rows_of_one_image_are_one_hit_found_in_few_steps() -> None:
    asked: list[int] = []
    rows = [row("art:big", number, 1.0) for number in range(1, 10_001)] + [row("art:small", 0, 0.5)]
    marks = marks_of(group=True, fold=False, clusters={})
    found: list[Group] = list(islice(ranked(fetch_from(rows, asked), marks, 11, 4), 2))
    assert [group.best.key.image_id for group in found] == ["art:big", "art:small"]
    assert asked == [44, 176, 704, 2816, 11264]


def test_what_is_asked_for_first_is_all_that_is_fetched_where_it_suffices() -> None:
    asked: list[int] = []
    rows = [row(f"art:{number:03}", 0, float(-number)) for number in range(100)]
    assert len(list(islice(ranked(fetch_from(rows, asked), alone, 11, 1), 11))) == 11
    assert asked == [11]
