"""The items of one scraped batch, with their records and pictures: what a scan lists, and what `records` returns.

Both come from here, so that the record which is hashed is the record which is handed out.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from embeddings_dagster.ids import escape_local_id
from embeddings_dagster.sources.base import Record
from embeddings_dagster.sources.item_text import text_regions, unread
from embeddings_dagster.sources.problems import Notes
from embeddings_dagster.sources.scraped.document import Document
from embeddings_dagster.sources.scraped.items import IDS, LONGEST_ID, ItemRecords, item_id
from embeddings_dagster.sources.scraped.layout import Place
from embeddings_dagster.sources.scraped.paths import PathReader
from embeddings_dagster.sources.scraped.pictures import ItemPictures, Pictured
from embeddings_dagster.sources.times import parse_time, time_in_name

NO_ITEM, NO_ID, REPEATED = "not an item, but something else in its place", "item without an id", "item listed again"
_SHOWN = 60


class Item(NamedTuple):
    """An item, its record (the faults of its pictures apart) and its pictures, at least one."""

    local_id: str
    record: Record
    pictures: list[Pictured]

    def records(self) -> list[Record]:
        """The record of each picture, by ordinal."""
        return [replace(self.record, fault=each.fault) if each.fault else self.record for each in self.pictures]


class Batch:
    """One batch file that was read. `scraped_at`: by the file, else by its name or its folder's. `text` names the
    metadata that is the text of an item's pictures."""

    def __init__(
        self, root: str, paths: PathReader, place: Place, document: Document, prefix: str, text: Sequence[str] = ()
    ) -> None:
        self.notes = Notes()
        self.ignored: Counter[str] = Counter()
        self.seen = len(document.items)
        self.scraped_at = self._time(place, document.facts)
        self._pictures = ItemPictures(root, paths, place.folder, place.record_file)
        self._records = ItemRecords(document.facts.get("category"), self.scraped_at, self.notes)
        self._items = document.items
        self._prefix = prefix
        self._text = text
        self._check(document)

    @property
    def incomplete(self) -> bool:
        """Whether a picture may come without any change of what the batch's mark is made of."""
        return self._pictures.incomplete

    def items(self, only: Collection[str] | None = None) -> Iterator[Item]:
        """The items in their order, each once; what is wrong with them is in `notes` and `ignored` afterwards.

        `only`: the local ids of those that are wanted.

        Raises:
            OSError: the folder of an item's pictures cannot be listed.
        """
        first: dict[str, Mapping[str, object]] = {}
        any_text = False
        for number, item in enumerate(self._items, start=1):
            if not isinstance(item, dict):
                self._pass_over(NO_ITEM, f"entry {number:,}", "is no object; correct it")
                continue
            text = item_id(item)
            if text is None:
                keys = " or ".join(IDS)
                reason = f"has no {keys} of 1 to {LONGEST_ID:,} characters, and cannot be named; give it one"
                self._pass_over(NO_ID, f"entry {number:,}", reason)
                continue
            local_id = self._prefix + escape_local_id(text)
            name = f"item {escape_local_id(text[:_SHOWN])}"
            if local_id in first:
                self.ignored[REPEATED] += 1
                if item != first[local_id]:
                    self.notes.add("differs", name, "is listed again, and differs; the first one counts")
                continue
            first[local_id] = item
            if only is None or local_id in only:
                pictures = self._pictures.find(item, text, name)
                record = self._records.record(item, name)
                regions = text_regions(record.metadata, self._text)
                any_text = any_text or bool(regions)
                yield Item(local_id, replace(record, regions=regions) if regions else record, pictures)
        if self._text and first and only is None and not any_text:
            self.notes.add("text", "the batch", unread(self._text))

    def _pass_over(self, kind: str, name: str, reason: str) -> None:
        self.ignored[kind] += 1
        self.notes.add(kind, name, reason)

    def _time(self, place: Place, facts: Mapping[str, object]) -> datetime | None:
        told = None
        try:
            told = parse_time(facts.get("scraped_at"))
        except ValueError as error:
            self.notes.add(
                "scraped_at", "the batch", f"scraped_at: {error}; that in its name is taken, if there is one"
            )
        file = place.record_file.rpartition("/")[2]
        return told or time_in_name(file) or time_in_name(place.folder.rpartition("/")[2])

    def _check(self, document: Document) -> None:
        for line in document.bad_lines:
            self.notes.add(line, "not taken", line)
        total = document.facts.get("total_items")
        if isinstance(total, int) and not isinstance(total, bool) and total != len(document.items):
            reason = (
                f"total_items is {total:,}, but {len(document.items):,} are listed; those that are listed are taken"
            )
            self.notes.add("total_items", "the batch", reason)
