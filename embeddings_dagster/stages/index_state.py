"""What an index is made from, remembered in SQLite under `cache/`: which batches offer an image, which rows are placed.

Derived, for one generation: where it is missing, damaged or of another generation, a refresh makes it anew from the
store. All of a refresh happens in one transaction, which is committed after the generation: a crash between the two
leaves a state of the old generation, and that is told by its mark.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from embeddings_dagster.ids import Key
from embeddings_dagster.stages.index_plan import Difference, Offer, Placed, Row, difference, superseded, wanted_rows
from embeddings_dagster.store.trouble import telling, telling_of_sqlite

TABLES = """
create table if not exists marked (generation text);
create table if not exists offers (image_id text, batch text, region integer, input_hash text, clean integer,
    primary key (image_id, batch, region)) without rowid;
create index if not exists offers_by_batch on offers (batch);
create table if not exists placed (image_id text, region integer, input_hash text, batch text, segment text,
    label integer, primary key (image_id, region)) without rowid;
create index if not exists unplaced on placed (batch) where label is null;
create table if not exists touched (image_id text primary key) without rowid;
create table if not exists superseded (image_id text primary key, rows integer) without rowid;
"""
CHUNK = 5_000  # images planned at a time

OfferRow = tuple[str, int, str, int]  # image_id, region, input_hash, clean


class StateDamaged(sqlite3.DatabaseError):
    """The state does not fit the store; made anew, it will."""


@dataclass
class Settled:
    """What planning came to: how many rows of each kind, and the labels that die, by segment."""

    inserted: int = 0
    updated: int = 0
    removed: int = 0
    dead: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def __bool__(self) -> bool:
        return bool(self.inserted or self.updated or self.removed)


class IndexState:
    """The derived state of one index, inside a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def matches(self, generation: str) -> bool:
        """Whether this is the state of the generation with that `self_sha256`."""
        return self._db.execute("select generation from marked").fetchall() == [(generation,)]

    def mark(self, generation: str) -> None:
        """Call it the state of that generation."""
        self._db.execute("delete from marked")
        self._db.execute("insert into marked values (?)", (generation,))

    def clear(self) -> None:
        """Forget everything."""
        for table in ("marked", "offers", "placed", "touched", "superseded"):
            self._db.execute(f"delete from {table}")

    def offer(self, batch: str, rows: Iterable[OfferRow]) -> int:
        """Replace all that a batch offers; images of which anything differs are touched. Returns how many rows it has
        now."""
        query = "select image_id, region, input_hash, clean from offers where batch = ?"
        before = set(self._db.execute(query, (batch,)))
        after = set(rows)
        gone, new = before - after, after - before
        self._db.executemany(
            "delete from offers where image_id = ? and batch = ? and region = ?",
            ((image_id, batch, region) for image_id, region, _, _ in gone),
        )
        self._db.executemany(
            "insert into offers values (?, ?, ?, ?, ?)",
            ((image_id, batch, region, input_hash, clean) for image_id, region, input_hash, clean in new),
        )
        self._touch(row[0] for row in gone | new)
        return len(after)

    def touch_batch(self, batch: str) -> None:
        """Plan all images of a batch again, because the order of batches changed."""
        self._db.execute("insert or ignore into touched select distinct image_id from offers where batch = ?", (batch,))

    def load_placed(self, rows: Iterable[tuple[str, int, str, str, str, int]]) -> None:
        """Take in rows that are in the index: image_id, region, input_hash, batch, segment, label."""
        self._db.executemany("insert into placed values (?, ?, ?, ?, ?, ?)", rows)

    def touch_placed(self) -> None:
        """Plan all images again that are in the index."""
        self._db.execute("insert or ignore into touched select distinct image_id from placed")

    def _touch(self, images: Iterable[str]) -> None:
        self._db.executemany("insert or ignore into touched values (?)", ((image,) for image in images))

    def settle(self, newest: Mapping[str, str]) -> Settled:
        """Plan every touched image and place what is wanted; `newest` is what orders the batches."""
        settled = Settled()
        for images in self._touched():
            offers = self._offers_of(images, newest)
            change = difference(wanted_rows(offers), self._placed_of(images))
            self._apply(change)
            self._supersede(images, offers)
            settled.inserted += len(change.inserted)
            settled.updated += len(change.updated)
            settled.removed += len(change.removed)
            for placed in change.dead:
                settled.dead[placed.segment].append(placed.label)
        return settled

    def _touched(self) -> Iterator[Sequence[str]]:
        """The touched images, a chunk at a time, ascending; none is touched when this ends."""
        last = ""
        query = "select image_id from touched where image_id > ? order by image_id limit ?"
        while images := [row[0] for row in self._db.execute(query, (last, CHUNK))]:
            yield images
            last = images[-1]
        self._db.execute("delete from touched")

    def _offers_of(self, images: Sequence[str], newest: Mapping[str, str]) -> dict[str, list[Offer]]:
        """The offers for a chunk of touched images."""
        query = (
            "select image_id, batch, region, input_hash, clean from touched join offers using (image_id) "
            "where image_id between ? and ? order by image_id, batch"
        )
        found: dict[str, list[Offer]] = defaultdict(list)
        for (image_id, batch), group in groupby(self._db.execute(query, (images[0], images[-1])), lambda row: row[:2]):
            rows = list(group)
            regions = {region: input_hash for _, _, region, input_hash, _ in rows}
            found[image_id].append(Offer(batch, newest[batch], all(clean for *_, clean in rows), regions))
        return found

    def _placed_of(self, images: Sequence[str]) -> dict[Key, Placed]:
        """The placed rows of a chunk of touched images."""
        query = (
            "select image_id, region, input_hash, batch, segment, label from touched join placed using (image_id) "
            "where image_id between ? and ?"
        )
        return {
            Key(image_id, region): Placed(Row(input_hash, batch), segment, label)
            for image_id, region, input_hash, batch, segment, label in self._db.execute(query, (images[0], images[-1]))
        }

    def _apply(self, change: Difference) -> None:
        """Remove dead rows; rows to write are placed, but have no label yet."""
        gone: Collection[Key] = [*change.removed, *change.updated]
        self._db.executemany("delete from placed where image_id = ? and region = ?", gone)
        self._db.executemany(
            "insert into placed values (?, ?, ?, ?, null, null)",
            ((key.image_id, key.region, row.input_hash, row.batch) for key, row in change.written.items()),
        )

    def _supersede(self, images: Sequence[str], offers: Mapping[str, list[Offer]]) -> None:
        """Note how many rows of each of these images are offered by batches that did not win."""
        self._db.executemany("delete from superseded where image_id = ?", ((image,) for image in images))
        counts = ((image, superseded(offers.get(image, ()))) for image in images)
        self._db.executemany("insert into superseded values (?, ?)", (each for each in counts if each[1]))

    def superseded(self) -> int:
        """How many rows are offered and not placed, because another batch wins; of all images."""
        return int(self._db.execute("select coalesce(sum(rows), 0) from superseded").fetchone()[0])

    def unplaced(self) -> dict[str, int]:
        """How many rows are to be written from each batch."""
        query = "select batch, count(*) from placed where label is null group by batch order by batch"
        return dict(self._db.execute(query))

    def unplaced_of(self, batch: str) -> dict[Key, str]:
        """The rows to be written from a batch: input hash by key."""
        query = "select image_id, region, input_hash from placed where label is null and batch = ?"
        return {Key(image_id, region): input_hash for image_id, region, input_hash in self._db.execute(query, (batch,))}

    def place(self, segment: str, keys: Iterable[Key], first: int) -> None:
        """Give rows that were written their labels, in order, from `first`."""
        self._db.executemany(
            "update placed set segment = ?, label = ? where image_id = ? and region = ?",
            ((segment, label, *key) for label, key in enumerate(keys, start=first)),
        )

    def move(
        self, segment: str, first: int, keys: Sequence[Key], segments: Sequence[str], labels: Sequence[int]
    ) -> None:
        """Rows were copied to a segment, in order, from label `first`; each was in one of `segments`, under `labels`.

        Raises:
            StateDamaged: one was not there.
        """
        moved = self._db.executemany(
            "update placed set segment = ?, label = ? where image_id = ? and region = ? and segment = ? and label = ?",
            (
                (segment, label, *key, *where)
                for label, (key, *where) in enumerate(zip(keys, segments, labels, strict=True), start=first)
            ),
        )
        if moved.rowcount != len(keys):
            raise StateDamaged(f"{len(keys) - moved.rowcount} rows are not where they are remembered to be")


def state_file(cache: Path, model: str, fp12: str) -> Path:
    """The file of the state of one index."""
    return cache / "indexes" / f"{model}-{fp12}.sqlite"


@contextmanager
def index_state(path: Path) -> Iterator[IndexState]:
    """The state in a file, which is made when missing; kept only if the block ends without an error.

    Raises:
        StorageFailed: there is no room for it, or no permission.
        sqlite3.OperationalError: another process has held it for a minute.
        sqlite3.DatabaseError: it is damaged; delete it and begin again.
    """
    with telling(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
    with telling_of_sqlite(path), closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
        connection.executescript(TABLES)
        connection.execute("begin immediate")
        try:
            yield IndexState(connection)
        except BaseException:
            if connection.in_transaction:  # SQLite ends it itself where the disk is full
                connection.rollback()
            raise
        connection.commit()
