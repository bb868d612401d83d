"""What a record says, as values that can be compared: numbers as numbers, moments as moments, text whatever its case.

One rule decides for what is stored and for what is asked, so that the two always meet: a number is a JSON number, or
text in plain decimal form of at most 15 digits without leading zeros; a moment is an ISO date, or date and time;
everything else is text. Barcodes, sizes like `042` and versions like `1.2.3` are text.
"""

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, NamedTuple

DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
DIGITS = 15  # as many as a float64 holds: two numbers of more digits could pass for one
MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
YEAR = re.compile(r"([0-9]{4})(?:-([0-9]{2}))?")
SHORT = 120  # characters of a text that is looked up by its value; a longer one is read to be compared
LATEST = "A"  # sorts after every moment, for the day after the last one there is
INT64 = 2**63


class Kind(IntEnum):
    """What a value is compared as. `LONG` is text that no index holds and no facet counts."""

    TEXT = 0
    NUMBER = 1
    TIME = 2
    LONG = 3


class Value(NamedTuple):
    """A value as it is compared (folded text, a number, a moment in UTC), and as it was written."""

    kind: Kind
    value: str | int | float
    text: str


def clean(text: str) -> str:
    """Text that SQLite takes: lone surrogates and NULs, which it cannot hold or stops at, become U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\0", "\ufffd")


def fold(text: str) -> str:
    """Text as it is compared: whatever its case, its way of writing the same letters, and its spaces."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", clean(text))
    return " ".join(text.casefold().split())


def number_of(text: str) -> int | float | None:
    """The number that a text is, if it is one."""
    if not DECIMAL.fullmatch(text) or sum(map(str.isdecimal, text)) > DIGITS:
        return None
    return float(text) if "." in text else int(text)


def moment_of(text: str) -> str | None:
    """The moment that a text names, as UTC text of one width that sorts; a date is its midnight, no zone is UTC."""
    if not MOMENT.fullmatch(text):
        return None
    try:
        return _utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _utc(moment: datetime) -> str:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def moment_text(moment: datetime | None) -> str | None:
    """A moment as it is stored and compared."""
    return None if moment is None else _utc(moment)


def span_of(text: str) -> tuple[str, str] | None:
    """From when until before when a moment that is asked for lasts: a year, a month, a day, or an instant."""
    year = YEAR.fullmatch(text)
    if year:
        first, count = moment_of(f"{year[1]}-{year[2] or '01'}-01"), int(year[1])
        after = f"{count + 1:04d}-01-01" if year[2] in (None, "12") else f"{count:04d}-{int(year[2]) + 1:02d}-01"
        return None if first is None else (first, moment_of(after) or LATEST)
    start = moment_of(text)
    if start is None:
        return None
    lasts = timedelta(days=1) if len(text) == len("2026-01-02") else timedelta(microseconds=1)
    try:
        return start, _utc(datetime.fromisoformat(start) + lasts)
    except OverflowError:
        return start, LATEST


def value_of(plain: str | int | float | bool) -> Value:
    """A plain value of a record as it is compared."""
    if isinstance(plain, bool):
        return Value(Kind.TEXT, str(plain).lower(), str(plain).lower())
    if isinstance(plain, int | float):
        if not math.isfinite(plain):
            return Value(Kind.TEXT, str(plain), str(plain))
        exact = float(plain) if isinstance(plain, int) and not -INT64 <= plain < INT64 else plain
        return Value(Kind.NUMBER, exact, str(plain) if isinstance(plain, int) else f"{plain:.15g}")
    text = clean(plain).strip()
    number = number_of(text)
    if number is not None:
        return Value(Kind.NUMBER, number, text)
    moment = moment_of(text)
    if moment is not None:
        return Value(Kind.TIME, moment, text)
    return Value(Kind.TEXT if len(text) <= SHORT else Kind.LONG, fold(text), text if len(text) <= SHORT else "")


def fields_of(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str | int | float | bool]]:
    """Every field with each of its plain values: what lies in a list is a value, what lies in an object has a dotted
    name, null is no value."""
    waiting: list[tuple[str, Any]] = list(reversed(list(metadata.items())))
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(f"{name}.{key}", each) for key, each in reversed(list(value.items()))]
        elif isinstance(value, list):
            waiting += [(name, each) for each in reversed(value)]
        elif isinstance(value, str | int | float):
            yield clean(name), value
