"""The catalog source: a table of products or the like (CSV, TSV, JSON Lines, Parquet) that names pictures by address.

Each row is an item, each address that it names a picture of it. All rows are accounted for: as an item, or as ignored
for a reason. A picture that a row does not name, or names by something that is no address on the web, is listed, and
ends as a failure. Only what an address leads to is ever read, through the cache of downloads; never a path.
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.errors import BadRecord, SourceError
from embeddings_dagster.sources.addresses import shown
from embeddings_dagster.sources.base import LOOK, SCAN, Picture, Record, Scan
from embeddings_dagster.sources.catalog.addresses import is_address
from embeddings_dagster.sources.catalog.contents import Contents
from embeddings_dagster.sources.catalog.read import RECENT, State, look_of, record_file, state_of
from embeddings_dagster.sources.catalog.rows import CatalogRules, Unusable
from embeddings_dagster.sources.downloads import Downloads, Refreshed

READER = 1  # raised when the same file comes to say something else, so that no mark of before holds
WHOLE = ""


class CatalogSource:
    """The pictures that the catalogue at `path` names, fetched through `downloads`."""

    own_batches = False

    def __init__(
        self,
        name: str,
        path: Path,
        rules: CatalogRules,
        downloads: Downloads,
        *,
        threads: int = 8,
        setting: str | None = None,
    ) -> None:
        """`threads`: how many pictures may be fetched at once; `setting`: how a message names the place of `path`."""
        self.name = name
        self.threads = threads
        self._path = path
        self._rules = rules
        self._downloads = downloads
        self._setting = setting or f"sources.{name}.path"
        self._file = record_file(path)

    def scan(self, known: Mapping[str, str] | None = None) -> Scan:
        """List all pictures; nothing, where the catalogue and the cache look as the mark in `known` says.

        Raises:
            SourceError: the catalogue is missing, empty, damaged, or has no column for pictures.
        """
        started_at = datetime.now(UTC)
        revisions = self._downloads.state()  # before all else: what changes meanwhile is found again by the next scan
        try:
            if known and WHOLE in known and known[WHOLE] == self._mark(state_of(self._path), revisions):
                return Scan(SCAN.empty_table(), started_at, left_alone=frozenset({WHOLE}))
            contents, state = RECENT.read(self._path, self._rules)
        except Unusable as error:
            raise self._unusable(error) from error
        return Scan(
            entries=self._with_etags(contents.entries),
            started_at=started_at,
            problems=contents.problems,
            ignored=contents.ignored,
            files=look_of(self._path, state),
            marks={WHOLE: self._mark(state, revisions)},
            listed=contents.listed,
        )

    def look(self, locations: pa.ChunkedArray) -> pa.Table:
        """The size and mtime of the catalogue where it is asked for; null for pictures, which lie elsewhere."""
        try:
            known = look_of(self._path, state_of(self._path))
        except Unusable:
            known = LOOK.empty_table()
        place = pc.index_in(locations, value_set=known["location"].combine_chunks())
        seen = (known[name].combine_chunks().take(place.combine_chunks()) for name in ("size", "mtime_ns"))
        return pa.table([locations.cast(pa.string()), *seen], schema=LOOK)

    def records(self, batch: str, rows: pa.Table) -> Mapping[tuple[str, int], Record]:
        """The records of some pictures by the catalogue as it is now; see `Source.records`."""
        return self._contents().records(rows)

    def read(self, picture: Picture, cap: int) -> bytes:
        """The bytes of one picture, from the cache or its address; see `Downloads.read`."""
        if not is_address(picture.location):
            raise BadRecord(f"{picture.local_id}: {picture.location!r} is no address; correct it in {self._file}")
        return self._downloads.read(_cached_as(picture.local_id, picture.ordinal), picture.location, cap)

    def refresh(self, cap: int, stop: threading.Event) -> Refreshed:
        """Ask for all pictures that were fetched before whether they are still the same; see `Downloads.refresh`.

        Raises:
            SourceError: the catalogue or the cache cannot be used.
            Stopped: `stop` was set.
        """
        entries = self._contents().entries.select(["local_id", "ordinal", "location"])
        pictures = (
            (_cached_as(local_id, ordinal), location)
            for local_id, ordinal, location in zip(*(column.to_pylist() for column in entries.columns), strict=True)
            if is_address(location)
        )
        return self._downloads.refresh(pictures, cap, stop)

    def locate(self, location: str) -> str:
        """The address of a picture, without any password in it; of one that has none, the path of the catalogue."""
        return shown(location) if is_address(location) else str(self._path)

    def _contents(self) -> Contents:
        try:
            return RECENT.get(self._path, self._rules)
        except Unusable as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Unusable) -> SourceError:
        return SourceError(
            f"source {self.name!r}: {str(self._path)!r} {error}, or correct {self._setting}. Nothing was removed."
        )

    def _with_etags(self, entries: pa.Table) -> pa.Table:
        """The entries with the revisions of pictures that a refresh found changed."""
        addresses = entries["location"]
        revisions = self._downloads.revisions(addresses.unique().to_pylist())
        if not revisions:
            return entries
        place = pc.index_in(addresses, value_set=pa.array(revisions.keys(), pa.string()))
        etags = pa.array(revisions.values(), pa.string()).take(place.combine_chunks())
        return entries.set_column(SCAN.get_field_index("etag"), SCAN.field("etag"), etags)

    def _mark(self, state: State, revisions: str) -> str:
        said = [READER, astuple(state), astuple(self._rules), revisions]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _cached_as(local_id: str, ordinal: int) -> str:
    return f"{local_id}#{ordinal}" if ordinal else local_id
