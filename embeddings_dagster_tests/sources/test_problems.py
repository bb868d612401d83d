from embeddings_dagster.sources import Problem
from embeddings_dagster.sources.problems import Notes, Problems


def test_problems_are_told_in_their_order_up_to_a_number_and_then_counted() -> None:
    problems = Problems(most=2)
    for number in range(5):
        problems.add(f"file {number}", "reason")
    assert problems.told() == (
        Problem("file 0", "reason"),
        Problem("file 1", "reason"),
        Problem("", "3 more problems are not listed; correct these, and the rest will be told"),
    )


def test_alike_notes_are_one_problem_that_names_some_of_the_items() -> None:
    notes, problems = Notes(), Problems()
    for number in range(9):
        notes.add("price", f"item {number}", f"price {number} is bad")
    notes.add("title", "item 1", "has no title")
    for number in (1, 2):
        notes.add("url", f"item {number}", "has no url")
    notes.tell("batch.json", problems)
    assert [problem.reason for problem in problems.told()] == [
        "item 0: price 0 is bad (and 8 more alike: item 1, item 2, item 3, item 4, item 5, …)",
        "item 1: has no title",
        "item 1: has no url (and 1 more alike: item 2)",
    ]
    assert {problem.location for problem in problems.told()} == {"batch.json"}
