"""How a graph is searched among some of its rows: what is cheapest, and never more than twice the exact answer."""

from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.index.strategy import (
    exact_cost,
    first_places,
    graph_cost,
    is_complete,
    is_looked_up,
    is_worth_it,
)


def test_without_a_filter_the_list_is_as_long_as_was_tuned() -> None:
    assert first_places(48, 10, 100_000, 100_000) == 48


def test_the_list_grows_with_what_is_asked_for_and_with_what_the_filter_leaves_out() -> None:
    assert first_places(48, 100, 100_000, 100_000) == 300
    assert first_places(48, 10, 100_000, 50_000) == 96
    assert first_places(48, 10, 100_000, 33_333) == 145


def test_the_list_is_no_longer_than_there_are_rows() -> None:
    assert first_places(48, 10, 30, 1) == 30


def test_at_a_hundred_thousand_rows_few_are_compared_and_many_are_found_along_the_graph() -> None:
    def by_graph(allowed: int) -> bool:
        return is_worth_it(first_places(48, 10, 100_000, allowed), 0, 100_000, allowed)

    assert [by_graph(allowed) for allowed in (100_000, 50_000, 20_000, 5_000, 500, 50)] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    assert [is_looked_up(100_000, allowed) for allowed in (50_000, 5_000, 500, 50)] == [False, False, False, True]


def test_an_answer_counts_when_its_last_hit_is_in_the_first_third() -> None:
    assert is_complete(9, 30)
    assert not is_complete(10, 30)


@given(st.integers(1, 10**7), st.floats(0, 1), st.integers(1, 4096), st.integers(1, 1000))
def test_lists_that_double_never_cost_more_than_the_exact_answer(rows: int, share: float, ef: int, k: int) -> None:
    allowed = max(1, int(rows * share))
    places, spent = first_places(ef, min(k, allowed), rows, allowed), 0.0
    for _ in range(64):
        if not is_worth_it(places, spent, rows, allowed):
            break
        spent += graph_cost(places)
        places = min(2 * places, rows)
    else:
        raise AssertionError("it never gives up")
    assert spent <= exact_cost(rows, allowed)
