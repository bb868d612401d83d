"""What the columns of a catalogue mean, by their names, which are compared without case and trimmed."""

from collections.abc import Iterable
from typing import NamedTuple

from embeddings_dagster.sources.catalog.rows import CatalogRules, Report
from embeddings_dagster.sources.catalog.values import trimmed

TEXT, NUMBER, PRICE = "text", "number", "price"
_NUMERIC = {"price": PRICE, "rating": NUMBER}  # unless `fields` says otherwise
_REMEMBERED = 256  # layouts: records of JSON Lines need not all have the same names
_SHOWN = 30  # columns that a message names


class Column(NamedTuple):
    """A column that becomes metadata under `key`; `at`: its place in a row."""

    at: int
    key: str
    kind: str = TEXT


class Layout(NamedTuple):
    """`ids`: in the order in which they are asked. `images`: places by column of the settings; none, where there is no
    such column. `rest`: metadata. `unnamed`: columns without a name, which are not taken."""

    ids: tuple[Column, ...]
    images: tuple[tuple[int, ...], ...]
    rest: tuple[Column, ...]
    unnamed: tuple[int, ...]


class Layouts:
    """The layouts of one file, and what can be said of its names at the end."""

    def __init__(self, rules: CatalogRules, report: Report) -> None:
        self._rules = rules
        self._report = report
        self._known: dict[tuple[str, ...], Layout] = {}
        self._fields = {name.casefold(): (name, kind) for name, kind in rules.fields}
        self._repeated: set[str] = set()
        self._seen: dict[str, str] = {}

    def of(self, names: tuple[str, ...]) -> Layout:
        """The layout of rows with these names."""
        layout = self._known.get(names)
        if layout is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            layout = self._known[names] = self._made(names)
        return layout

    @property
    def has_ids(self) -> bool:
        """Whether any row had a column for ids."""
        return any(_folded(name) in self._seen for name in self._rules.ids)

    def missing_images(self) -> list[str]:
        """The columns for pictures that no row had."""
        return [name for name in self._rules.images if _folded(name) not in self._seen]

    def names(self) -> str:
        """The columns there are, for a message."""
        shown = [repr(name[:60]) for name in list(self._seen.values())[:_SHOWN]]
        return ", ".join(shown) + (", …" if len(self._seen) > _SHOWN else "")

    def _made(self, names: tuple[str, ...]) -> Layout:
        folded = [_folded(name) for name in names]
        if len(self._seen) < 10 * _REMEMBERED:
            self._seen |= {short: trimmed(name) for short, name in zip(folded, names, strict=True) if short}
        self._seen |= {name: name for name in map(_folded, (*self._rules.ids, *self._rules.images)) if name in folded}
        ids = [at for name in self._rules.ids for at in _places(folded, _folded(name))]
        images = tuple(tuple(_places(folded, _folded(name))) for name in self._rules.images)
        taken = {at for each in images for at in each}
        columns: dict[int, Column] = {}
        used: set[str] = set()
        for at, name in enumerate(names):
            if at not in taken and folded[at]:
                columns[at] = self._column(at, name, used)
        return Layout(
            ids=tuple(columns.get(at) or Column(at, "") for at in ids),
            images=images,
            rest=tuple(column for at, column in columns.items() if at not in ids),
            unnamed=tuple(at for at, name in enumerate(folded) if not name),
        )

    def _column(self, at: int, name: str, used: set[str]) -> Column:
        key, kind = self._fields.get(_folded(name), (trimmed(name), ""))
        numeric = _NUMERIC.get(_folded(name), NUMBER)
        if kind in ("number", "integer") or (not kind and _folded(name) in _NUMERIC):
            kind = numeric
        if key in used:
            again = next(new for count in range(2, len(used) + 3) if (new := f"{key}.{count}") not in used)
            if key not in self._repeated and len(self._repeated) < _REMEMBERED:
                self._repeated.add(key)
                self._report.problem(
                    None, f"two columns are named {key!r}; the second is taken as {again!r}. Rename it"
                )
            key = again
        used.add(key)
        return Column(at, key, kind if kind in (NUMBER, PRICE) else TEXT)


def _folded(name: str) -> str:
    return trimmed(name).casefold()


def _places(folded: Iterable[str], wanted: str) -> list[int]:
    return [at for at, name in enumerate(folded) if name == wanted]
