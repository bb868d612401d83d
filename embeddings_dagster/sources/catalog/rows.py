"""The rows of a catalogue, whatever its format: what readers hand on, and what they tell of what they could not use."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from embeddings_dagster.sources.base import Problem
from embeddings_dagster.sources.problems import Problems

_CONFLICTS_FIRST = 5
NOT_A_RECORD, BLANK_ROW, REPEATED_ID = "not a record", "blank row", "repeated id"


class Unusable(Exception):
    """A catalogue that says nothing as a whole; the message goes on from its name: `is empty; fill it`."""


@dataclass(frozen=True)
class CatalogRules:
    """The settings that decide what a catalogue says. `fields`: name and type; `last`: which repeated id counts;
    `text`: the metadata that is the text of a row's pictures."""

    format: str = "auto"
    encoding: str = "auto"
    ids: tuple[str, ...] = ("product_id", "id")
    images: tuple[str, ...] = ("image_url",)
    fields: tuple[tuple[str, str], ...] = ()
    last: bool = False
    prefix: str = ""
    text: tuple[str, ...] = ()


class Row(NamedTuple):
    """`number` counts rows from 1, unusable ones among them and blank lines not; `line` is where a person finds it (in
    Parquet that is the row). There is a cell for each name. `fault`: why cells may stand under the wrong names."""

    number: int
    line: int
    names: tuple[str, ...]
    cells: Sequence[object]
    fault: str = ""


class Report:
    """What is said of a catalogue beside its entries. Repeated ids have a budget of their own, so that a column full of
    bad prices does not hide them."""

    def __init__(self, name: str, unit: str) -> None:
        """`name`: the file's, as locations say it; `unit`: `line` or `row`."""
        self.name = name
        self.unit = unit
        self._ignored: Counter[str] = Counter()
        self._problems = Problems()
        self._conflicts = Problems()

    def problem(self, line: int | None, reason: str) -> None:
        """Something about a line, or about the whole file."""
        self._problems.add(self.place(line), reason)

    def conflict(self, line: int, reason: str) -> None:
        """Something about a row whose id another row has too."""
        self._conflicts.add(self.place(line), reason)

    def ignore(self, reason: str, count: int = 1) -> None:
        """Count rows that are passed over."""
        if count:
            self._ignored[reason] += count

    def place(self, line: int | None) -> str:
        """A location: `products.csv:17`."""
        return self.name if line is None else f"{self.name}:{line}"

    @staticmethod
    def likewise(count: int, unit: str) -> str:
        """How many more there are like the one that is told: ` (3 more rows likewise)`; nothing, where it is alone."""
        return f" ({count:,} more {unit}{'s' if count > 1 else ''} likewise)" if count else ""

    @property
    def ignored(self) -> Mapping[str, int]:
        return dict(sorted(self._ignored.items()))

    @property
    def problems(self) -> tuple[Problem, ...]:
        conflicts = self._conflicts.told()  # some of them first, for who is shown a few lines only
        return (*conflicts[:_CONFLICTS_FIRST], *self._problems.told(), *conflicts[_CONFLICTS_FIRST:])
