"""Comparing a field with what a person typed: as numbers, moments or text, as the field's own values are."""

import re
from collections.abc import Collection
from typing import NamedTuple

from embeddings_dagster.catalog.conditions import AMONG, EQUAL, ORDERS, RANGE, UNEQUAL, Condition
from embeddings_dagster.catalog.values import DECIMAL, INT64, Kind, clean, fold, span_of
from embeddings_dagster.errors import BadQuery

MOST_VALUES = 10_000  # of an `in`
MOST_TIMES = 200  # of those that are moments: each is a comparison of its own, and SQLite nests at most 1,000
CALLED = {Kind.TEXT: "text", Kind.NUMBER: "numbers", Kind.TIME: "dates", Kind.LONG: "text"}

Bound = str | int | float


class Compared(NamedTuple):
    """SQL that is true, false or null, and the values it is bound to."""

    sql: str
    values: tuple[Bound, ...]


NEVER = Compared("0", ())


class Operand(NamedTuple):
    """What is compared: `sql` is its value; `kind` is its kind in SQL, where one field may hold several `kinds`.
    `exact`: the case of letters counts."""

    sql: str
    kinds: Collection[Kind]
    kind: str | None = None
    exact: bool = False


def compare(condition: Condition, operand: Operand) -> Compared:
    """Whether a value fulfils a condition; of `!=`, whether it fulfils `=`.

    Raises:
        BadQuery: the condition's values do not fit its operator, or the field.
    """
    given = [each for each in condition.values if each is not None]
    if condition.operator == AMONG:
        if not 0 < len(given) <= MOST_VALUES:
            raise BadQuery(f"{condition.field}: `in` takes 1 to {MOST_VALUES} values, not {len(given):,}")
        return _among(condition.field, given, operand)
    if condition.operator == RANGE:
        ends = zip((">=", "<="), condition.values, strict=True) if len(condition.values) == 2 else ()
        return _all([_ordered(condition, sign, end, operand) for sign, end in ends if end is not None])
    if len(given) != 1:
        raise BadQuery(f"{condition.field}: {condition.operator} takes one value, not {len(given)}")
    if condition.operator in (EQUAL, UNEQUAL):
        return _equal(given[0], operand)
    if condition.operator in ORDERS:
        return _ordered(condition, condition.operator, given[0], operand)
    raise BadQuery(f"{condition.field}: there is no operator {condition.operator!r}")


def _equal(text: str, operand: Operand) -> Compared:
    """In every way that the text can be read, and the field has values of."""
    found = [_as_kind(kind, EQUAL, text, operand) for kind in (Kind.NUMBER, Kind.TIME, Kind.TEXT)]
    return _any([each for each in found if each is not None])


def _among(field: str, texts: list[str], operand: Operand) -> Compared:
    """Equal to any of several, each in every way that it can be read."""
    parts = []
    for kind in (Kind.NUMBER, Kind.TEXT):
        bounds = [_bounds(kind, EQUAL, text, exact=operand.exact) for text in texts] if _held(kind, operand) else []
        if values := [each[0][1] for each in bounds if each]:
            listed = f"{operand.sql} in ({', '.join('?' * len(values))})"
            parts.append(Compared(" and ".join([*_of_kind(kind, operand), listed]), tuple(values)))
    times = [found for text in texts if (found := _as_kind(Kind.TIME, EQUAL, text, operand))]
    if len(times) > MOST_TIMES:
        raise BadQuery(f"{field}: `in` takes at most {MOST_TIMES} dates, not {len(times):,}")
    return _any(parts + times)


def _ordered(condition: Condition, sign: str, text: str, operand: Operand) -> Compared:
    """In the first of the ways that the text can be read, and the field has values of: text is ordered last of all."""
    for kind in (Kind.NUMBER, Kind.TIME, Kind.TEXT):
        found = _as_kind(kind, sign, text, operand)
        if found is not None:
            return found
    held = " and ".join(dict.fromkeys(CALLED[kind] for kind in sorted(operand.kinds)))
    raise BadQuery(f"{condition.field} holds {held}, and {text!r} cannot be compared with that")


def _as_kind(kind: Kind, sign: str, text: str, operand: Operand) -> Compared | None:
    bounds = _bounds(kind, sign, text, exact=operand.exact) if _held(kind, operand) else None
    if bounds is None:
        return None
    parts = [*_of_kind(kind, operand), *(f"{operand.sql} {each} ?" for each, _ in bounds)]
    return Compared(" and ".join(parts), tuple(value for _, value in bounds))


def _held(kind: Kind, operand: Operand) -> set[Kind]:
    """The kinds that are compared as this one, of those that the field has."""
    return {kind, *((Kind.LONG,) if kind == Kind.TEXT else ())} & set(operand.kinds)


def _of_kind(kind: Kind, operand: Operand) -> list[str]:
    """The SQL that leaves values of this kind alone, where there may be others."""
    if operand.kind is None:
        return []
    return [f"{operand.kind} in ({', '.join(str(int(each)) for each in sorted(_held(kind, operand)))})"]


def _bounds(kind: Kind, sign: str, text: str, *, exact: bool) -> list[tuple[str, Bound]] | None:
    """The comparisons, all of which hold; None where the text is nothing of that kind."""
    if kind == Kind.TEXT:
        return [(sign, clean(text) if exact else fold(text))]
    if kind == Kind.NUMBER:
        number = _number(text)
        return None if number is None else [(sign, number)]
    span = span_of(text.strip())
    if span is None:
        return None
    first, after = span
    # A day is equal to every moment of it, so what comes after it begins where it ends.
    spans: dict[str, list[tuple[str, Bound]]] = {
        EQUAL: [(">=", first), ("<", after)],
        "<": [("<", first)],
        "<=": [("<", after)],
        ">": [(">=", after)],
        ">=": [(">=", first)],
    }
    return spans[sign]


def _number(text: str) -> int | float | None:
    """A number of any length: unlike a text that is stored, one that is compared with numbers is meant as one."""
    if not re.fullmatch(DECIMAL, text.strip()):
        return None
    if "." not in text and -INT64 <= (whole := int(text)) < INT64:
        return whole
    return float(text)


def _any(parts: list[Compared]) -> Compared:
    return _joined(" or ", parts) if parts else NEVER


def _all(parts: list[Compared]) -> Compared:
    return _joined(" and ", parts) if parts else NEVER


def _joined(word: str, parts: list[Compared]) -> Compared:
    sql = word.join(f"({each.sql})" for each in parts)
    return Compared(f"({sql})", tuple(value for each in parts for value in each.values))
