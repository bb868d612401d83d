"""How well the demo's questions are answered: the rank of the first expected picture; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from embeddings_dagster.demo.sample import Query

FIRST = 3  # a question is answered when an expected picture is among the first three
NEEDED = 18  # of twenty, for the demo to have gone well


@dataclass(frozen=True)
class Answer:
    """`rank` of the first expected picture (from 1), None when it is not among those found; `shown`: the first ones."""

    query: Query
    rank: int | None
    shown: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.rank is not None and self.rank <= FIRST


def answer(query: Query, paths: Sequence[str]) -> Answer:
    """Judge the pictures found for a query, best first."""
    rank = next((number for number, path in enumerate(paths, start=1) if path in query.expected), None)
    return Answer(query, rank, tuple(paths[:FIRST]))


def found(answers: Sequence[Answer]) -> int:
    """How many questions were answered."""
    return sum(each.passed for each in answers)
