"""One pass over a scraped source: which batches are read, which are left alone, and what is told of either."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import pyarrow as pa

from embeddings_dagster import ids
from embeddings_dagster.errors import BadRecord
from embeddings_dagster.ids import escape_local_id
from embeddings_dagster.sources.base import LOOK, Listed, Scan
from embeddings_dagster.sources.columns import Entry, RecordColumns
from embeddings_dagster.sources.problems import Problems
from embeddings_dagster.sources.scraped.batch import Batch, Item
from embeddings_dagster.sources.scraped.document import read_document
from embeddings_dagster.sources.scraped.layout import Place, find_batches
from embeddings_dagster.sources.scraped.paths import PathReader

BEING_WRITTEN = "batch file that is still being written, left for the next look"
EMPTY = "holds no batch, which is a folder with a batch.json, or any *.json or *.jsonl; correct the path, or fill it"
UNREADABLE = "batch file that cannot be read, left as it was"
YOUNG_SECONDS = 60  # a file that does not parse is taken to be unfinished for so long


class ScrapedScan:
    """One pass over a source; see `ScrapedSource.scan`."""

    def __init__(
        self, name: str, root: str, paths: PathReader, prefix: str, text: Sequence[str], known: Mapping[str, str]
    ) -> None:
        """`root`: a real path. `text`: see `Batch`. `known`: the marks of batches that need not be read again, by
        key."""
        self._name = name
        self._root = root
        self._paths = paths
        self._prefix = prefix
        self._text = text
        self._known = known
        self._problems = Problems()
        self._ignored: Counter[str] = Counter()
        self._items_seen = 0
        self._items_ignored: Counter[str] = Counter()
        self._entries = RecordColumns()
        self._files: list[tuple[str, int, int]] = []
        self._scraped_at: dict[str, datetime] = {}
        self._left_alone: set[str] = set()
        self._marks: dict[str, str] = {}

    def scan(self) -> Scan:
        """Raises SourceError: a folder cannot be listed."""
        started_at = datetime.now(UTC)
        layout = find_batches(self._root, self._name, self._problems, self._ignored)
        if not layout.places and not layout.unfinished:
            self._problems.add(escape_local_id(self._root), EMPTY)
        self._left_alone |= {self._key(name) for name in layout.unfinished}
        for place in layout.places:
            key = self._key(place.name)
            mark = self._mark(place)
            if mark is not None and self._known.get(key) == mark:
                self._left_alone.add(key)
            else:
                self._read(place, key)
        locations, sizes, times = zip(*self._files, strict=True) if self._files else ((), (), ())
        return Scan(
            self._entries.table(),
            started_at,
            self._problems.told(),
            {reason: count for reason, count in sorted(self._ignored.items()) if count},
            pa.table(
                [pa.array(locations, pa.string()), pa.array(sizes, pa.int64()), pa.array(times, pa.int64())], LOOK
            ),
            self._scraped_at,
            frozenset(self._left_alone),
            self._marks,
            Listed("items", self._items_seen, self._items_ignored),
        )

    def _read(self, place: Place, key: str) -> None:
        location = escape_local_id(place.record_file)
        try:
            document = read_document(self._root, place.record_file)
            if document.bad_lines and self._is_young(place):
                raise BadRecord("its last line is being written")
            batch = Batch(self._root, self._paths, place, document, self._prefix, self._text)
            items = list(batch.items())
        except (OSError, BadRecord) as error:
            self._leave_alone(place, key, error)
            return
        for item in sorted(items, key=lambda item: item.local_id.encode()):
            self._entries.extend(_entries(item, key, location))
        batch.notes.tell(location, self._problems)
        self._ignored += batch.ignored
        self._items_seen += batch.seen
        self._items_ignored += batch.ignored
        self._files.append((location, document.size, document.mtime_ns))
        if batch.scraped_at is not None:
            self._scraped_at[key] = batch.scraped_at
        mark = self._mark(place)
        if mark is not None and not batch.incomplete:
            self._marks[key] = mark

    def _mark(self, place: Place) -> str | None:
        """The mark of what is read of a batch: other texts make other records of the same file."""
        if place.mark is None or not self._text:
            return place.mark
        return f"{place.mark} {json.dumps(self._text)}"

    def _leave_alone(self, place: Place, key: str, error: OSError | BadRecord) -> None:
        self._left_alone.add(key)
        if isinstance(error, BadRecord) and self._is_young(place):
            self._ignored[BEING_WRITTEN] += 1
            return
        self._ignored[UNREADABLE] += 1
        location = escape_local_id(place.record_file)
        if isinstance(error, BadRecord):
            reason = str(error).removeprefix(f"{location}: ")
        else:
            reason = f"cannot be read ({error.strerror}); check its permissions and its disk"
        self._problems.add(location, f"{reason}. Nothing of its batch was changed")

    def _is_young(self, place: Place) -> bool:
        try:
            age = time.time() - os.stat(os.path.join(self._root, place.record_file)).st_mtime
        except OSError:
            return False
        return abs(age) < YOUNG_SECONDS  # a clock elsewhere may be ahead of ours, but not for ever

    def _key(self, name: str) -> str:
        return ids.batch_key(self._name, name)


def _entries(item: Item, key: str, location: str) -> Iterator[Entry]:
    digest = item.record.digest()
    for ordinal, (picture, record) in enumerate(zip(item.pictures, item.records(), strict=True)):
        yield Entry(
            item.local_id,
            item.local_id,
            ordinal,
            key,
            picture.location,
            picture.size,
            picture.mtime_ns,
            None,
            digest if record is item.record else record.digest(),
            location,
        )
