"""Rows of a catalogue as items: an id, the pictures it names, and its metadata."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from embeddings_dagster.errors import BadRecord, ItemError, NoPicture
from embeddings_dagster.ids import escape_local_id
from embeddings_dagster.sources.base import Plain
from embeddings_dagster.sources.catalog.addresses import Place, places
from embeddings_dagster.sources.catalog.layout import NUMBER, PRICE, TEXT, Column, Layout, Layouts
from embeddings_dagster.sources.catalog.rows import CatalogRules, Report, Row
from embeddings_dagster.sources.catalog.values import id_text, plain
from embeddings_dagster.sources.numbers import named_currency, parse_number, parse_price

CURRENCY = "currency"
_READ: Mapping[str, Callable[[object], Plain]] = {TEXT: plain, NUMBER: parse_number, PRICE: parse_price}


class Named(NamedTuple):
    """A picture of an item: its address, or the fault by which there is none."""

    ordinal: int
    address: str | None
    fault: ItemError | None


@dataclass(frozen=True)
class Item:
    """`local_id` is None where the row names none."""

    local_id: str | None
    pictures: list[Named]
    metadata: dict[str, Plain]


class Items:
    """Makes items of rows; what is wrong with one is told to the report, or is the fault of its picture."""

    def __init__(self, rules: CatalogRules, layouts: Layouts, report: Report) -> None:
        self._rules = rules
        self._layouts = layouts
        self._report = report
        self.unnamed = False  # whether a column without a name was filled

    def item(self, row: Row) -> Item | None:
        """The item of a row; None where the row is blank."""
        layout = self._layouts.of(row.names)
        local_id, named_by = self._id(row, layout)
        metadata = self._metadata(row, layout, named_by)
        found = _placed(row, layout)
        if local_id is None and not metadata and not any(place.address or place.fault for _, place in found):
            self.unnamed |= any(row.cells[at] not in (None, "") for at in layout.unnamed)
            return None
        if not self.unnamed and layout.unnamed:
            self.unnamed = any(row.cells[at] not in (None, "") for at in layout.unnamed)
        return Item(local_id, self._pictures(row, local_id, found), metadata)

    def _id(self, row: Row, layout: Layout) -> tuple[str | None, int]:
        for at, _, _ in layout.ids:
            try:
                text = id_text(row.cells[at])
            except ValueError as error:
                self._report.problem(row.line, f"{row.names[at]}: {error}; taken as blank")
                continue
            if text is not None:
                return self._rules.prefix + escape_local_id(text), at
        return None, -1

    def _metadata(self, row: Row, layout: Layout, named_by: int) -> dict[str, Plain]:
        metadata: dict[str, Plain] = {}
        price: object = None
        cells = row.cells
        for at, key, kind in layout.rest:
            cell = cells[at]
            if cell is None or cell == "":
                continue
            try:
                value = _READ[kind](cell)
            except ValueError as error:
                self._told(row, key, error)
                continue
            if value is not None:
                metadata[key] = value
                price = cell if kind is PRICE else price
        for column in layout.ids:
            if column.at != named_by:
                self._add_other_id(row, column, metadata)
        if isinstance(price, str) and not (price[-1:].isdigit() and price[:1].isdigit()):
            code = named_currency(price)
            if code:
                metadata.setdefault(CURRENCY, code)
        return metadata

    def _add_other_id(self, row: Row, column: Column, metadata: dict[str, Plain]) -> None:
        try:
            value = plain(row.cells[column.at])
        except ValueError:
            return  # told when it was tried as the id
        if value is not None:
            metadata[column.key] = value

    def _told(self, row: Row, key: str, error: ValueError) -> None:
        self._report.problem(row.line, f"{key}: {error}; taken without")

    def _pictures(self, row: Row, local_id: str | None, found: list[tuple[int, Place]]) -> list[Named]:
        name = f"row {row.number}" if local_id is None else local_id
        if row.fault and not _is_certain(row, found):
            reason = f"{row.fault}, so that its cells are not those of their columns"
            return [Named(0, None, BadRecord(f"{name}: {reason}; quote the field that holds the separator"))]
        pictures: list[Named] = []
        for ordinal, place in found:
            if place.address:
                pictures.append(Named(ordinal, place.address, None))
            elif place.fault:
                pictures.append(Named(ordinal, None, BadRecord(f"{name}: {place.fault}")))
        if pictures:
            return pictures
        columns = ", ".join(self._rules.images)
        return [Named(0, None, NoPicture(f"{name}: names no picture; fill in {columns}, or correct columns.image"))]


def _placed(row: Row, layout: Layout) -> list[tuple[int, Place]]:
    """All places for pictures with their ordinals; a column that is blank or missing keeps its place."""
    found: list[tuple[int, Place]] = []
    for columns in layout.images:
        if not columns:
            found.append((len(found), Place()))
        for at in columns:
            for place in places(row.cells[at]):
                found.append((len(found), place))
    return found


def _is_certain(row: Row, found: list[tuple[int, Place]]) -> bool:
    """Whether a row with too many fields names its picture all the same. In the last column an address may be cut."""
    addresses = [place.address for _, place in found if place.address]
    return (
        bool(addresses) and not any(place.fault for _, place in found) and str(row.cells[-1]).strip() not in addresses
    )
