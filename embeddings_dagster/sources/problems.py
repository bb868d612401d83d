"""Problems of strangers' records, kept to a number that a person can read: alike ones of a file are told as one, and
after the first thousand only how many more there are."""

from collections import Counter

from embeddings_dagster.sources.base import Problem

MOST = 1_000
_NAMED = 5  # items that a message names beside the first


class Problems:
    """Those of one scan, in the order they were found."""

    def __init__(self, most: int = MOST) -> None:
        self._found: list[Problem] = []
        self._most = most
        self._more = 0

    def add(self, location: str, reason: str) -> None:
        if len(self._found) < self._most:
            self._found.append(Problem(location, reason))
        else:
            self._more += 1

    def told(self) -> tuple[Problem, ...]:
        """All of them, or the first ones and the number of the rest."""
        if not self._more:
            return tuple(self._found)
        rest = Problem("", f"{self._more:,} more problems are not listed; correct these, and the rest will be told")
        return (*self._found, rest)


class Notes:
    """What is wrong with single items of one file of records: told once for each kind, with the items it concerns."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._others: dict[str, list[str]] = {}

    def add(self, kind: str, item: str, reason: str) -> None:
        """`kind` says which notes are alike, `item` is how a message names the item."""
        self._counts[kind] += 1
        if kind not in self._first:
            self._first[kind] = f"{item}: {reason}"
            self._others[kind] = []
        elif len(self._others[kind]) < _NAMED:
            self._others[kind].append(item)

    def tell(self, location: str, problems: Problems) -> None:
        """A problem for each kind, at the location of the file."""
        for kind, first in self._first.items():
            more, named = self._counts[kind] - 1, ", ".join(self._others[kind])
            dots = ", …" if more > _NAMED else ""
            problems.add(location, f"{first} (and {more:,} more alike: {named}{dots})" if more else first)
