"""Which rows are meant, and the SQL that finds them: constant text throughout, everything a person typed is bound."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from embeddings_dagster.catalog.comparisons import Bound, Operand, compare
from embeddings_dagster.catalog.conditions import (
    HOLDS,
    LACKS,
    MISSING,
    PRESENT,
    UNEQUAL,
    Condition,
    parse_condition,
)
from embeddings_dagster.catalog.values import Kind, clean, fold
from embeddings_dagster.catalog.words import parse_words
from embeddings_dagster.errors import BadQuery
from embeddings_dagster.ids import ALL, PARTS, WHOLE, Regions

MOST_CONDITIONS = 100


@dataclass(frozen=True, slots=True)
class Filter:
    """Rows that fulfil all of it; without anything, every row.

    `where` holds conditions, typed (see `conditions`) or parsed. `text` is looked for in titles, in what a record says
    and in the texts of regions (see `words`). `regions`: whole pictures, parts of them, or both.
    """

    where: Sequence[str | Condition] = ()
    text: str | None = None
    sources: Collection[str] = ()
    batches: Collection[str] = ()
    regions: Regions = ALL

    @property
    def is_all(self) -> bool:
        """Whether it asks for nothing but a kind of region."""
        return self.text is None and not (self.where or self.sources or self.batches)


class Column(NamedTuple):
    """A field that every row has: its SQL, what it is compared as, and whether letters' case counts."""

    sql: str
    kind: Kind
    exact: bool = False


# These are the catalogue's own; a record's field of the same name is reached as `metadata.NAME`.
COLUMNS: Final[Mapping[str, Column]] = {
    "image_id": Column("i.image_id", Kind.TEXT),
    "item_id": Column("i.item_id", Kind.TEXT),
    "source": Column("i.source", Kind.TEXT, exact=True),
    "batch": Column("i.batch", Kind.TEXT, exact=True),
    "ordinal": Column("i.ordinal", Kind.NUMBER),
    "region": Column("r.region", Kind.NUMBER),
    "location": Column("i.location", Kind.TEXT),
    "width": Column("i.width", Kind.NUMBER),
    "height": Column("i.height", Kind.NUMBER),
    "scraped_at": Column("i.scraped_at", Kind.TIME),
    "text": Column("r.text", Kind.TEXT),
}
OWN = "metadata."


@dataclass(slots=True)
class Sql:
    """Conditions on `records r` and `images i` that hold together, and the values they are bound to."""

    conditions: list[str] = field(default_factory=list)
    values: list[Bound] = field(default_factory=list)

    def add(self, condition: str, *values: Bound) -> None:
        self.conditions.append(condition)
        self.values += values

    def where(self) -> str:
        return " and ".join(self.conditions) or "1"


def resolve_field(name: str, known: Mapping[str, Collection[Kind]]) -> str:
    """The field that a name means: a column, or `metadata.` and the name of a record's field.

    `known`: the fields that records carry. The case of letters counts only where two fields differ in nothing else.

    Raises:
        BadQuery: there is none; the message offers those that look like it.
    """
    names = {**dict.fromkeys(COLUMNS), **{f"{OWN}{each}": None for each in known}}
    wanted = clean(name)
    for tried in (wanted, f"{OWN}{wanted}"):
        if tried in names:
            return tried
    shown = {each.removeprefix(OWN) if each.removeprefix(OWN) not in COLUMNS else each: each for each in names}
    alike = [each for each in shown if each.casefold() == wanted.casefold()]
    if len(alike) == 1:
        return shown[alike[0]]
    folded = {each.casefold(): each for each in shown}
    close = alike or [folded[each] for each in difflib.get_close_matches(wanted.casefold(), folded, n=3)]
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"there are {_some(sorted(shown))}"
    raise BadQuery(f"no field {name!r}; {hint}")


def _some(names: Sequence[str], shown: int = 20) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown:,} more" if len(names) > shown else "")


def compiled(wanted: Filter, known: Mapping[str, Collection[Kind]]) -> Sql:
    """The SQL of a filter, but for its words.

    Raises:
        BadQuery: a condition makes no sense; the message names its field.
    """
    sql = Sql()
    if wanted.regions not in (ALL, WHOLE, PARTS):
        raise BadQuery(f"regions {wanted.regions!r}: it is {ALL}, {WHOLE} or {PARTS}")
    if wanted.regions != ALL:
        sql.add("r.region = 0" if wanted.regions == WHOLE else "r.region > 0")
    for column, names in (("i.source", wanted.sources), ("i.batch", wanted.batches)):
        if names:
            sql.add(f"{column} in ({_marks(names)})", *map(clean, names))
    if len(wanted.where) > MOST_CONDITIONS:
        raise BadQuery(f"{len(wanted.where)} conditions are too many; at most {MOST_CONDITIONS}")
    for each in wanted.where:
        condition = parse_condition(each) if isinstance(each, str) else each
        name = resolve_field(condition.field, known)
        if name in COLUMNS:
            _on_column(sql, condition, COLUMNS[name])
        else:
            _on_metadata(sql, condition, name.removeprefix(OWN), known[name.removeprefix(OWN)])
    if wanted.text is not None:
        words = parse_words(wanted.text)
        if words.unwanted:
            sql.add("r.id not in (select rowid from searched where searched match ?)", words.unwanted)
        if words.wanted:
            sql.add("searched match ?", words.wanted)
    return sql


def is_ranked(wanted: Filter) -> bool:
    """Whether the rows are found through words, and so have a score. Raises BadQuery."""
    return wanted.text is not None and bool(parse_words(wanted.text).wanted)


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


def _on_column(sql: Sql, condition: Condition, column: Column) -> None:
    if condition.operator in (MISSING, PRESENT):
        sql.add(f"coalesce({column.sql}, '') {'=' if condition.operator == MISSING else '!='} ''")
        return
    if condition.operator in (HOLDS, LACKS):
        folded = f"fold(cast({column.sql} as text))"
        found = "coalesce(instr({}, ?), 0) {} 0".format(folded, ">" if condition.operator == HOLDS else "=")
        sql.add(found, fold(_one(condition)))
        return
    compared = f"fold({column.sql})" if column.kind == Kind.TEXT and not column.exact else column.sql
    held, values = compare(condition, Operand(compared, (column.kind,), exact=column.exact))
    sql.add(f"not coalesce({held}, 0)" if condition.operator == UNEQUAL else f"coalesce({held}, 0)", *values)


def _on_metadata(sql: Sql, condition: Condition, name: str, kinds: Collection[Kind]) -> None:
    holding = images_holding(condition, name, kinds)
    sql.add(f"r.image {'not in' if holding.opposite else 'in'} ({holding.sql})", *holding.values)


class Holding(NamedTuple):
    """SQL of the numbers of pictures, and the values it is bound to; `opposite`: all others are meant."""

    sql: str
    values: tuple[Bound, ...]
    opposite: bool


def images_holding(condition: Condition, name: str, kinds: Collection[Kind]) -> Holding:
    """Pictures that hold a value of a record's field for which the condition is true, or for which its opposite is.

    A picture comes once for each such value. Raises BadQuery.
    """
    opposite = condition.operator in (UNEQUAL, LACKS, MISSING)
    held = "1"
    values: tuple[Bound, ...] = ()
    if condition.operator in (HOLDS, LACKS):
        held = "instr(iif(v.kind in (1, 2), lower(v.text), v.value), ?) > 0"
        values = (fold(_one(condition)),)
    elif condition.operator not in (MISSING, PRESENT):
        held, values = compare(condition, Operand("v.value", kinds, kind="v.kind"))
    vals = "select v.id from vals v join names n on n.id = v.name where n.name = ?"
    parts = [f"{vals} and v.kind < 3 and {held}"]
    if Kind.LONG in kinds:
        parts.append(f"{vals} and v.kind = 3 and {held}")
    bound: list[Bound] = [each for _ in parts for each in (name, *values)]
    return Holding(
        f"select h.image from holds h where h.value in ({' union all '.join(parts)})", tuple(bound), opposite
    )


def _one(condition: Condition) -> str:
    if len(condition.values) != 1 or condition.values[0] is None:
        raise BadQuery(f"{condition.field}: {condition.operator} takes one value")
    return condition.values[0]
