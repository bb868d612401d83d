"""Cells as plain values that every store can hold, and as ids. What is blank, null or NaN is absent."""

import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from embeddings_dagster.sources.base import Plain
from embeddings_dagster.sources.lenient_json import clean

# Blank, and what pandas makes of a blank that it turns into text. `None` and `null` are words of some language.
BLANK = frozenset({"", "nan", "NaN"})
LONGEST_ID = 1_024  # characters
LONGEST_TEXT = 65_536
LARGEST_NESTED = 65_536  # characters, as JSON
DEEPEST = 8
_EDGES = "\ufeff\u200b\x1a"  # invisible, at the ends of cells that were pasted, and of files
_INTEGERS = range(-(2**63), 2**63)  # what SQLite, Arrow and other readers can hold


def trimmed(text: str) -> str:
    """Text without anything invisible at its ends, and nothing in it that no store takes."""
    if text.isprintable():
        return text.strip()
    return clean(text).strip().strip(_EDGES).strip()


def plain(value: object) -> Plain:
    """A cell as JSON can say it; None where there is nothing. Dates become ISO 8601 text.

    Raises:
        ValueError: it is too large, nested too deeply, or of no such kind.
    """
    if isinstance(value, str):
        text = value.strip() if value.isprintable() else trimmed(value)  # a call saved for nearly every cell
        if len(text) > LONGEST_TEXT:
            raise ValueError(f"{len(text):,} characters are too many")
        return None if text in BLANK else text
    found = _plain(value, 1)
    if isinstance(found, list | dict) and len(json.dumps(found)) > LARGEST_NESTED:
        raise ValueError("is too large")
    return None if found in ([], {}) else found


def id_text(value: object) -> str | None:
    """A cell as an id; None where it is blank. Text stays as it stands; a number that is whole has no point.

    Raises:
        ValueError: there is something, and it can be no id.
    """
    found = plain(value)
    if isinstance(found, list | dict):
        raise ValueError("a list or an object is no id")
    if isinstance(found, float):
        return str(int(found)) if found.is_integer() and abs(found) < 2**53 else str(found)
    if found is not None and len(str(found)) > LONGEST_ID:
        raise ValueError(f"an id of {len(str(found)):,} characters is too long")
    return found if found is None or isinstance(found, str) else json.dumps(found)


def _plain(value: object, depth: int) -> Plain:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int):
        return value if value in _INTEGERS else str(value)
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if depth > DEEPEST:
        raise ValueError("is nested too deeply")
    if isinstance(value, Mapping):
        return {clean(str(key)): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, depth + 1) for each in value]
    raise ValueError(f"a value of kind {type(value).__name__} is not understood")
