"""All that a catalogue says at one time: an entry for each picture, and what was passed over. Nothing is fetched."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.errors import BadRecord, ItemError, NoPicture
from embeddings_dagster.sources.base import SCAN, Listed, Plain, Problem, Record
from embeddings_dagster.sources.catalog.items import Item, Items
from embeddings_dagster.sources.catalog.layout import Layouts
from embeddings_dagster.sources.catalog.packed import Growing, PackedMetadata, positions
from embeddings_dagster.sources.catalog.repeats import ROWS, Repeats
from embeddings_dagster.sources.catalog.rows import (
    BLANK_ROW,
    NOT_A_RECORD,
    REPEATED_ID,
    CatalogRules,
    Report,
    Row,
    Unusable,
)
from embeddings_dagster.sources.item_text import text_regions, unread

# The pictures of all rows; `row` counts usable rows from 0.
_PICTURES = pa.schema(
    [
        ("row", pa.int64()),
        ("ordinal", pa.int32()),
        ("location", pa.string()),
        ("record_hash", pa.string()),
        ("fault", pa.string()),
        ("kind", pa.int8()),
    ]
)
_FAULTS: tuple[type[ItemError], ...] = (NoPicture, BadRecord)


@dataclass(frozen=True)
class Contents:
    """`entries`: schema `SCAN`, sorted. `origin`: for each entry its row among `metadata`, and its fault if it has one.
    `ignored` rows and the items of the entries are all rows there are, `listed`. `text`: as the rules have it."""

    entries: pa.Table
    origin: pa.Table
    metadata: PackedMetadata
    problems: tuple[Problem, ...]
    ignored: Mapping[str, int]
    listed: Listed
    text: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        return int(self.entries.nbytes + self.origin.nbytes + self.metadata.nbytes)

    def records(self, wanted: pa.Table) -> dict[tuple[str, int], Record]:
        """The records of those pictures of `wanted` (columns `local_id` and `ordinal`) that are still named."""
        chosen = pc.is_in(self.entries["local_id"], value_set=wanted["local_id"].unique())
        entries, origin = self.entries.filter(chosen), self.origin.filter(chosen)
        metadata = self.metadata.take(origin["row"].to_pylist())
        asked = set(zip(wanted["local_id"].to_pylist(), wanted["ordinal"].to_pylist(), strict=True))
        columns = (entries["local_id"], entries["ordinal"], origin["row"], origin["fault"], origin["kind"])
        return {
            (local_id, ordinal): _record(metadata[row], self.text, _fault(fault, kind))
            for local_id, ordinal, row, fault, kind in zip(*(each.to_pylist() for each in columns), strict=True)
            if (local_id, ordinal) in asked
        }


def read_contents(rows: Iterator[Row], rules: CatalogRules, report: Report) -> Contents:
    """Take in all rows; time and memory grow linearly with them.

    Raises:
        Unusable: there is no row, or no column for pictures.
    """
    layouts = Layouts(rules, report)
    items = Items(rules, layouts, report)
    built = _Building(report, rules.text)
    read = 0
    for row in rows:
        read += 1
        item = items.item(row)
        if item is None:
            report.ignore(BLANK_ROW)
        else:
            built.add(row, item)
    _check(layouts, rules, report, any_row=built.count > 0)
    if items.unnamed:
        report.problem(None, "a column without a name is left out; give it one in the first line")
    return built.contents(rules, read, has_ids=layouts.has_ids)


def _check(layouts: Layouts, rules: CatalogRules, report: Report, *, any_row: bool) -> None:
    missing = layouts.missing_images()
    if any_row and len(missing) == len(rules.images):
        named = " or ".join(map(repr, missing)) or "a picture (columns.image is empty)"
        raise Unusable(f"has no column named {named}, but {layouts.names()}; name those of pictures in columns.image")
    if not any_row:
        first = next((f" ({each.location}: {each.reason})" for each in report.problems), "")
        raise Unusable(f"is empty, or holds no record{first}; write it again, or take the source out of the settings")
    if missing:
        report.problem(None, f"has no column named {', '.join(map(repr, missing))}; correct columns.image")


class _Building:
    def __init__(self, report: Report, text: tuple[str, ...]) -> None:
        self._report = report
        self._text = text
        self._any_text = False
        self._rows = Growing(ROWS)
        self._pictures = Growing(_PICTURES)
        self._metadata = PackedMetadata()
        self.count = 0

    def add(self, row: Row, item: Item) -> None:
        plain, plain_digest = _record(item.metadata, self._text), ""
        self._any_text = self._any_text or bool(plain.regions)
        said: list[object] = []
        for ordinal, address, fault in item.pictures:
            if fault is not None:
                digest = _record(item.metadata, self._text, fault).digest()
                kind = _FAULTS.index(type(fault))
            else:
                digest = plain_digest = plain_digest or plain.digest()
                kind = None
            self._pictures.add(self.count, ordinal, address, digest, None if fault is None else str(fault), kind)
            said += (ordinal, address, digest)
        named = item.local_id is not None
        self._rows.add(item.local_id if named else str(row.number), row.number, row.line, named, hash(tuple(said)))
        self._metadata.add(item.metadata)
        self.count += 1

    def contents(self, rules: CatalogRules, read: int, *, has_ids: bool) -> Contents:
        pictures, metadata, report = self._pictures.table(), self._metadata, self._report
        repeats = Repeats(self._rows.table(), rules, last=rules.last)
        del self._rows, self._pictures
        report.ignore(REPEATED_ID, len(repeats.dropped))
        repeats.tell(report, pictures, metadata)
        _tell_unnamed(repeats, rules, report, has_ids=has_ids)
        if self._text and not self._any_text:
            report.problem(None, unread(self._text))
        at = _sorted(pictures.select(["row", "ordinal"]), repeats)
        columns = dict(zip(pictures.column_names, pictures.columns, strict=True))
        del pictures
        for name in columns:  # one after the other, so that no two copies of all are held
            columns[name] = columns[name].take(at)
        kept = pa.table(columns)
        entries = _entries(kept, repeats.ids.take(kept["row"]), report.name)
        origin = kept.select(["row", "fault", "kind"]).combine_chunks()
        # Of what is no record nobody makes a row: the reader of the format has counted it.
        listed = Listed("rows", read + report.ignored.get(NOT_A_RECORD, 0), report.ignored)
        return Contents(entries, origin, metadata, report.problems, report.ignored, listed, self._text)


def _sorted(pictures: pa.Table, repeats: Repeats) -> pa.Array:
    """Where the pictures of rows that count are, sorted as entries are."""
    at = np.flatnonzero(repeats.kept[positions(pictures["row"])])
    keys = pictures.take(at)
    keys = keys.append_column("id", repeats.ids.take(keys["row"]))
    return pa.array(at).take(pc.sort_indices(keys, [("id", "ascending"), ("ordinal", "ascending")]))


def _entries(kept: pa.Table, local_ids: pa.ChunkedArray, name: str) -> pa.Table:
    """Schema `SCAN`, in the order of the rows. A picture with no address is at its item in the catalogue itself."""
    count, locations = len(kept), kept["location"]
    if locations.null_count:
        locations = pc.coalesce(locations, pc.binary_join_element_wise(f"{name}#", local_ids, ""))
    columns = {
        "local_id": local_ids,
        "item_id": local_ids,
        "ordinal": kept["ordinal"],
        "location": locations,
        "record_hash": kept["record_hash"],
        "record_file": pa.repeat(pa.scalar(name), count),
    }
    return pa.table({f.name: columns.get(f.name, pa.nulls(count, f.type)) for f in SCAN}, schema=SCAN)


def _record(metadata: Mapping[str, Plain], text: tuple[str, ...], fault: ItemError | None = None) -> Record:
    return Record(metadata, regions=text_regions(metadata, text), fault=fault)


def _fault(reason: str | None, kind: int | None) -> ItemError | None:
    return None if reason is None or kind is None else _FAULTS[kind](reason)


def _tell_unnamed(repeats: Repeats, rules: CatalogRules, report: Report, *, has_ids: bool) -> None:
    count, line = repeats.unnamed
    if not count:
        return
    advice = "they are known by their number in the file, so that rows put before them make them others"
    if has_ids:
        report.problem(line, f"has no id{report.likewise(count - 1, 'row')}; {advice}. Fill it in")
    else:
        named = " or ".join(map(repr, rules.ids))
        report.problem(None, f"has no column named {named}, so that rows have no id; {advice}. Correct columns.id")
