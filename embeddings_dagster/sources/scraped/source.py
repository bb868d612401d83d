"""The scraped source: batches that a scraper leaves in a folder, each a JSON file of items with their pictures beside
it. Each batch is a partition of its own.

A batch that is still being written is left for the next look, and one whose file cannot be read stays as it was: a
fault of a file is never taken for a removal. A batch that looks as it did is not read again. An item that is listed in
several batches is an entry in each.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from embeddings_dagster.errors import BadRecord, SourceError
from embeddings_dagster.ids import escape_local_id, unescape_local_id
from embeddings_dagster.sources.base import Picture, Record, Scan
from embeddings_dagster.sources.local_files import look_within, read_within, real_root
from embeddings_dagster.sources.scraped.batch import Batch
from embeddings_dagster.sources.scraped.document import read_document
from embeddings_dagster.sources.scraped.layout import Place, place_of
from embeddings_dagster.sources.scraped.paths import PathReader
from embeddings_dagster.sources.scraped.scan import ScrapedScan


class ScrapedSource:
    """The batches below `root`; see `layout` for how they are told, and `items` for what is kept.

    `prefix` goes before each local id, which is the item's id. `text` names the metadata that is the pictures' text.
    """

    own_batches = True
    threads = 2  # reading and hashing: more of them wait for the same disk

    def __init__(
        self, name: str, root: Path, *, prefix: str = "", text: Sequence[str] = (), setting: str | None = None
    ) -> None:
        """`setting` is how a message names the place where `root` can be corrected."""
        self.name = name
        self.root = root
        self._prefix = prefix
        self._text = tuple(text)
        self._setting = setting or f"sources.{name}.path"

    def scan(self, known: Mapping[str, str] | None = None) -> Scan:
        """List every picture of every batch, but of those that look as `known` says; a few states of files are asked
        for where a batch is left alone. Time and memory grow linearly.

        Raises:
            SourceError: the root or a folder below it is missing, not a folder, or cannot be listed.
        """
        root = self._real_root()
        return ScrapedScan(self.name, root, self._paths(root), self._prefix, self._text, known or {}).scan()

    def look(self, locations: pa.ChunkedArray) -> pa.Table:
        """The size and mtime of some pictures or batch files now; see `Source.look`."""
        return look_within(self.root, locations)

    def records(self, batch: str, rows: pa.Table) -> Mapping[tuple[str, int], Record]:
        """The records of some pictures, from the batch's file as it is now; see `Source.records`.

        Raises:
            SourceError: the file is there, but cannot be read or makes no sense.
        """
        root = self._real_root()
        near = (unescape_local_id(location) for location in rows.column("location").to_pylist())
        place = place_of(root, self.name, batch.removeprefix(f"{self.name}__"), near)
        wanted = set(zip(rows.column("local_id").to_pylist(), rows.column("ordinal").to_pylist(), strict=True))
        try:
            return self._records(root, place, wanted) if place else {}
        except FileNotFoundError:
            return {}
        except (OSError, BadRecord) as error:
            where = escape_local_id(place.record_file) if place else batch
            reason = str(error) if isinstance(error, BadRecord) else f"{where}: cannot be read ({error.strerror})"
            raise SourceError(f"source {self.name!r}: batch {batch}: {reason}; then run again") from error

    def read(self, picture: Picture, cap: int) -> bytes:
        """The bytes of one picture; see `Source.read`. Refuses what lies outside of the root, by `..` or by a link."""
        missing = "is not there; put it where its record says, or correct the record, and it is tried again"
        return read_within(self.root, picture.location, cap, source=self.name, if_missing=missing)

    def locate(self, location: str) -> str:
        """The absolute path of a picture."""
        return str(self.root / unescape_local_id(location))

    def _records(self, root: str, place: Place, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], Record]:
        document = read_document(root, place.record_file)
        batch = Batch(root, self._paths(root), place, document, self._prefix, self._text)
        return {
            (item.local_id, ordinal): record
            for item in batch.items(only={local_id for local_id, _ in wanted})
            for ordinal, record in enumerate(item.records())
            if (item.local_id, ordinal) in wanted
        }

    def _paths(self, root: str) -> PathReader:
        return PathReader((root, os.path.abspath(self.root)))

    def _real_root(self) -> str:
        return real_root(self.root, source=self.name, setting=self._setting)
