"""Conditions on fields as a person types them: `brand=Acme`, `price<=20`, `price=10..20`, `brand in Acme,Foo`,
`title~shirt`, `size=` (missing), `size!=` (not missing).

A value in quotes is taken as it stands: `title="a, b"`, `note="10..20"`, `size=""` (an empty text). So is a field's
name: `"made in"=Italy`. Inside quotes a backslash takes away the meaning of what follows it.
"""

import re
from dataclasses import dataclass
from typing import Final

from embeddings_dagster.errors import BadQuery

EXAMPLES: Final = "brand=Acme, price<=20, price=10..20, brand in Acme,Foo, title~shirt, size= (missing)"
QUOTED = r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'"
OPERATORS = r"!=|<=|>=|!~|==|=|<|>|~"
BARE_NAME = r"""[^\s=<>~!"'](?:[^=<>~!"']*?[^\s=<>~!"'])??"""
BARE_VALUE = r"""[^\s,"'](?:[^,"']*[^\s,"'])?"""
SYNTAX = re.compile(
    rf"(?P<name>{QUOTED}|{BARE_NAME})\s*(?:(?P<operator>{OPERATORS})|\s(?P<among>in)\s)\s*(?P<rest>.*)",
    re.DOTALL | re.IGNORECASE,
)
PIECE = re.compile(rf"\s*+(?:(?P<quoted>{QUOTED})|(?P<bare>{BARE_VALUE})?)\s*+(?:,|$)", re.DOTALL)
ESCAPED = re.compile(r"\\(.)", re.DOTALL)
MOST_CHARACTERS = 2_000

EQUAL, UNEQUAL, AMONG, RANGE = "=", "!=", "in", ".."
HOLDS, LACKS, MISSING, PRESENT = "~", "!~", "missing", "present"
ORDERS = ("<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: a field, what is asked of it, and the values it is compared with.

    `in` takes any number of values, `..` two (`None`: that end is open; both ends are included), `missing` and
    `present` none, all others one. `!=`, `!~` and `missing` are the exact opposites of `=`, `~` and `present`, so that
    rows without the field fulfil them.
    """

    field: str
    operator: str
    values: tuple[str | None, ...] = ()

    def __str__(self) -> str:
        return f"{self.field} {self.operator} {', '.join('' if each is None else each for each in self.values)}".strip()


def parse_condition(text: str) -> Condition:
    """The condition that a text means.

    Raises:
        BadQuery: it is none.
    """
    if len(text) > MOST_CHARACTERS:
        raise BadQuery(f"a condition of {len(text):,} characters is too long; at most {MOST_CHARACTERS:,}")
    found = SYNTAX.fullmatch(text.strip())
    if found is None or not (name := unquoted(found["name"])):
        raise BadQuery(f"{text!r} is no condition; write one like {EXAMPLES}")
    rest = found["rest"].strip()
    if found["among"]:
        return Condition(name, AMONG, tuple(_list(text, rest)))
    operator = EQUAL if found["operator"] == "==" else found["operator"]
    if not rest:
        if operator in (EQUAL, UNEQUAL):
            return Condition(name, MISSING if operator == EQUAL else PRESENT)
        raise BadQuery(f"{text!r} compares {name!r} with nothing; give a value, or write = alone for missing")
    if _is_quoted(rest):
        return Condition(name, operator, (unquoted(rest),))
    if operator == EQUAL and ".." in rest:
        return Condition(name, RANGE, _range(text, rest))
    return Condition(name, operator, (rest,))


def _list(text: str, rest: str) -> list[str]:
    values, start = [], 0
    while start <= len(rest):
        piece = PIECE.match(rest, start)
        if piece is None:
            raise BadQuery(f"{text!r}: {rest[start:]!r} is no list; put a value that holds , or ' or \" in quotes")
        if piece["quoted"] is None and not piece["bare"]:
            raise BadQuery(f'{text!r}: a value of the list is empty; write "" for an empty text')
        values.append(unquoted(piece["quoted"]) if piece["quoted"] else piece["bare"])
        start = piece.end() if piece[0].endswith(",") else len(rest) + 1
    return values


def _range(text: str, rest: str) -> tuple[str | None, str | None]:
    low, _, high = rest.partition("..")
    ends = [unquoted(each.strip()) or None for each in (low, high)]
    if ends == [None, None] or ".." in high:
        raise BadQuery(f"{text!r}: a range is FROM..TO, FROM.. or ..TO; put a value with .. in it in quotes")
    return ends[0], ends[1]


def _is_quoted(text: str) -> bool:
    return re.fullmatch(QUOTED, text, re.DOTALL) is not None


def unquoted(text: str) -> str:
    """A name or value without its quotes, if it has any."""
    if _is_quoted(text):
        return ESCAPED.sub(r"\1", text[1:-1])
    return text.strip()
