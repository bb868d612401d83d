"""Rows of CSV and TSV as strangers write them. Every line is accounted for: a quote that is left open costs its own
row, and not the rest of the file.

The separator of CSV is what a first line `sep=;` says, else the one of `,` `;` tab `|` under which the header names
most of the columns that are asked for, or else has most fields. A row with too few fields lacks the last ones. In one
with too many the first ones count, and it carries a fault that says so: what they hold decides whether it can be used.
"""

import csv
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence

from embeddings_dagster.sources.catalog.rows import NOT_A_RECORD, Report, Row, Unusable

SEPARATORS = (",", ";", "\t", "|")
LARGEST_FIELD = 16 * 2**20  # characters
MOST_COLUMNS = 16_384  # as many as a spreadsheet can have
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\s\w]|\t)"?', re.IGNORECASE)  # Excel's own way to say it
_BLANK = " \t\r\n\0\x1a"  # DOS ended files with the last of these


def read_delimited(
    lines: Iterator[str], separators: tuple[str, ...], wanted: Collection[str], report: Report
) -> Iterator[Row]:
    """The rows below the header; none where there is no header.

    `separators`: those to choose from. `wanted`: names of columns that are asked for, in lower case.

    Raises:
        Unusable: the header has more columns than any table.
    """
    records = _Records(_Feed(lines), report)
    names = records.header(separators, wanted)
    if len(names) > MOST_COLUMNS:
        raise Unusable(f"has {len(names):,} columns; correct its first line")
    number = short = first_short = 0
    for line, cells in records:
        number += 1
        fault = ""
        if cells is _NOTHING:
            report.ignore(NOT_A_RECORD)
            continue
        if len(cells) < len(names):
            short += 1
            first_short = first_short or line
            cells += [""] * (len(names) - len(cells))
        elif len(cells) > len(names):
            fault = _too_many(cells, len(names))
            if fault:
                report.problem(line, f"{fault}; the first ones are taken. Quote a field that holds the separator")
            del cells[len(names) :]
        yield Row(number, line, names, cells, fault)
    if short:
        more = report.likewise(short - 1, "row")
        report.problem(first_short, f"has fewer fields than the header{more}; taken as blank")


_NOTHING: list[str] = []  # stands for a record that cannot be read at all


def _too_many(cells: Sequence[str], width: int) -> str:
    """Separators at the end of a row are no fields."""
    filled = next((at for at in range(len(cells), width, -1) if cells[at - 1].strip()), width)
    return f"has {filled:,} fields, and the header {width:,}" if filled > width else ""


def _fitness(header: str, separator: str, wanted: Collection[str]) -> tuple[int, int]:
    names = [name.strip().casefold() for name in _literal(header, separator)]
    return sum(name in wanted for name in names), len(names)


class _Feed:
    """Lines for `csv.reader`, which can be given back; `line` is the number of the last one that was taken."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self.taken: list[str] = []
        self.line = 0

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        text = self._again.popleft() if self._again else next(self._lines) + "\n"
        self.taken.append(text)
        self.line += 1
        return text

    def put_back(self, count: int) -> None:
        """The last `count` of the lines in `taken` will come again."""
        if count:
            self._again.extendleft(reversed(self.taken[-count:]))
            del self.taken[-count:]
            self.line -= count


class _Records:
    """(number of its first line, cells) of each record below the header that is not blank."""

    def __init__(self, feed: _Feed, report: Report) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), LARGEST_FIELD))  # one for the whole process; never lowered
        self._feed = feed
        self._report = report
        self._separator = ","
        self._spaced = False
        self._width = 0

    def header(self, separators: tuple[str, ...], wanted: Collection[str]) -> tuple[str, ...]:
        """The names of the columns; to be called first. Nothing where the file is blank."""
        line = self._first_line()
        told = _SEPARATOR_LINE.fullmatch(line.strip("\n"))
        if told:
            separators = (told[1],)
            line = self._first_line()
        if line:
            self._feed.put_back(1)
        self._separator = max(separators, key=lambda each: _fitness(line, each, wanted))
        self._spaced = f"{self._separator} " in line
        _, cells = next(iter(self), (0, []))
        self._width = len(cells)
        return tuple(cells)

    def _first_line(self) -> str:
        return next((line for line in self._feed if line.strip()), "")

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        feed = self._feed
        reader = self._reader(feed, spaced=self._spaced, strict=True)
        while True:
            feed.taken.clear()
            first = feed.line + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                cells = self._first_line_alone(first)
            else:
                if len(cells) > self._width > 0:
                    cells = self._overfull(first, cells)
            if len(cells) > 1 or cells is _NOTHING or (cells and cells[0].strip(_BLANK)):
                yield first, cells

    def _reader(self, lines: Iterable[str], *, spaced: bool, strict: bool) -> "Iterator[list[str]]":
        return csv.reader(lines, delimiter=self._separator, skipinitialspace=spaced, strict=strict)

    def _overfull(self, first: int, cells: list[str]) -> list[str]:
        if self._width == 1:  # no separator is known: a comma is part of the field
            return [self._separator.join(cells)]
        if len(self._feed.taken) > 1:
            # A quote that was never closed runs to the next one, some rows later.
            return self._first_line_alone(first) if _too_many(cells, self._width) else cells
        spaced = next(self._reader(self._feed.taken, spaced=True, strict=False))
        return spaced if len(spaced) == self._width else cells

    def _first_line_alone(self, number: int) -> list[str]:
        """The fields of a record with a quote out of place, from its first line; the others are read as rows again."""
        self._feed.put_back(len(self._feed.taken) - 1)
        line = self._feed.taken[0]
        cells = _literal(line, self._separator)
        if len(cells) != self._width:
            try:
                cells = next(self._reader([line], spaced=self._spaced, strict=False))
            except (csv.Error, StopIteration):
                reason = f"has a field of more than {LARGEST_FIELD:,} characters; the row is left out. Shorten it"
                self._report.problem(number, reason)
                return _NOTHING
        if '"' in line:
            self._report.problem(
                number, "has a quote out of place, which is taken as it stands; double it, or close it"
            )
        return cells


def _literal(line: str, separator: str) -> list[str]:
    """The fields of a line where quotes mean nothing, but for those around a whole field."""
    cells = [cell.strip(" ") for cell in line.rstrip("\n").split(separator)]
    return [cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell for cell in cells]
