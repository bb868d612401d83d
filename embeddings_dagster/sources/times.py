"""Moments as strangers write them: ISO 8601 with or without a zone, seconds since 1970, or stamped into a name."""

import math
import re
from datetime import UTC, datetime

from embeddings_dagster.sources.numbers import NOTHING

_EPOCH = re.compile(r"[0-9]{9,13}(\.[0-9]{1,9})?")
_MILLISECONDS = 100_000_000_000  # as seconds this would be the year 5138
_YEARS = range(1900, 2200)  # beyond these a time is a mistake, and near the years 1 and 9999 zones overflow
_LONGEST = 64
_STAMP = re.compile(r"(?<![0-9])([0-9]{8})_([0-9]{6})(?:_([0-9]{1,6}))?(?![0-9])")


def parse_time(value: object) -> datetime | None:
    """A moment in UTC, or None where there is nothing. Without a zone it is UTC; numbers are seconds since 1970, or
    milliseconds where seconds would lead beyond the year 5000.

    Raises:
        ValueError: there is something, and it is no time between 1900 and 2199.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str) and value.strip().lower() in NOTHING:
        return None
    try:
        found = _moment(value)
        if found.year in _YEARS:
            return found
    except (ValueError, OverflowError, OSError):  # each of them is what some platform says of a time out of range
        pass
    shown = repr(value[:_LONGEST]) if isinstance(value, str) else f"this {type(value).__name__}"
    raise ValueError(f"{shown} is no time")


def time_in_name(name: str) -> datetime | None:
    """The moment in a name such as `batch_20240131_235959_123456`, taken as UTC; None where there is none."""
    found = _STAMP.search(name)
    try:
        return found and _stamped(*found.groups())
    except ValueError:  # thirteen months
        return None


def _stamped(day: str, time: str, fraction: str | None) -> datetime:
    return datetime.strptime(f"{day}{time}{(fraction or '').ljust(6, '0')}", "%Y%m%d%H%M%S%f").replace(tzinfo=UTC)


def _moment(value: object) -> datetime:
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _LONGEST:
            raise ValueError("too long")
        if not _EPOCH.fullmatch(text):
            found = datetime.fromisoformat(text)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("no time")
    return datetime.fromtimestamp(value / 1000 if value >= _MILLISECONDS else value, UTC)
