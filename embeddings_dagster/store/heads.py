"""The newest version of every batch of a dataset at once, at the cost of a listing.

A manifest never changes, so what it says is remembered under `cache/`, by the name and the state (size, mtime, inode)
of its file. One that is new is opened and verified like any other; one that was made again is another file.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, field, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.store.files import Stat
from embeddings_dagster.store.manifest import Counts
from embeddings_dagster.store.migrations import FORMAT_VERSION
from embeddings_dagster.store.remembered import UNUSABLE, Remembered, transaction

if TYPE_CHECKING:
    from embeddings_dagster.store.store import Store

# What is said in it is counted up; and what a newer release could read is not remembered for this one.
TABLES = f"""create table if not exists heads (dataset text, batch text, newest text, size integer, mtime_ns integer,
    identity text, said text, primary key (dataset, batch)) without rowid -- said: 2, format: {FORMAT_VERSION}"""
KEPT = 500  # manifests opened between two times that what they say is written down

NOTHING = Counts(0, 0, 0)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Head:
    """What the newest complete version of a batch says of itself, but for its files; `version` 0: there is none yet.

    `begun`: a later version is not complete. `fault`: why no version can be told, where a manifest is damaged.
    """

    version: int = 0
    content: str = ""
    counts: Counts = NOTHING
    bytes: int = 0
    inputs: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    recipe: str | None = None
    fingerprint: str | None = None
    created_at: datetime | None = None
    run_id: str = ""
    begun: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Heads:
    """The heads of a dataset by batch; those that have no version, complete or not, are missing. `unopened`: batches
    whose newest manifest is new, and was left for the next time."""

    by_batch: Mapping[str, Head]
    unopened: frozenset[str] = frozenset()

    def get(self, batch: str) -> Head:
        """The head of a batch; that of one without any version says so."""
        return self.by_batch.get(batch, NONE)


NONE = Head()
PLAIN = [each.name for each in fields(Head) if each.name not in ("counts", "created_at")]
Listed = tuple[str, Stat]  # the newest manifest of a batch: its name, and the state of the file


def read_heads(
    store: "Store", dataset: str, *, at_most: int | None = None, first: Callable[[str], Any] | None = None
) -> Heads:
    """The heads of a dataset. At most `at_most` manifests are opened (default: all that are new), lowest `first` first.

    Raises:
        FormatTooNew: a newer release wrote one.
    """
    listed = store.newest(dataset)
    memory = _Memory(store, dataset)
    known = memory.recall(listed)
    new = sorted(listed.keys() - known.keys(), key=first)
    unopened = frozenset(new[at_most:] if at_most is not None else ())
    wanted = [batch for batch in new if batch not in unopened]
    for start in range(0, len(wanted), KEPT):
        opened = {batch: _open(store, dataset, batch, listed[batch]) for batch in wanted[start : start + KEPT]}
        memory.keep({batch: (listed[batch], head) for batch, head in opened.items() if not head.fault})
        known.update(opened)
    memory.forget(listed)
    return Heads({batch: known[batch] for batch in listed if batch in known}, unopened)


def _open(store: "Store", dataset: str, batch: str, listed: Listed) -> Head:
    """The head by its manifests, as of the listing: what is committed meanwhile is of the next one."""
    chain = store.chain(dataset, batch)
    newest = int(listed[0].partition(".")[0])
    try:
        for number in reversed([number for number in chain.versions.numbers() if number <= newest]):
            manifest = chain.get(number)
            if manifest.complete:
                return Head(
                    version=manifest.version,
                    content=manifest.content,
                    counts=manifest.counts,
                    bytes=sum(part.bytes for part in manifest.parts),
                    inputs=manifest.inputs,
                    recipe=manifest.recipe,
                    fingerprint=manifest.fingerprint,
                    created_at=manifest.created_at,
                    run_id=manifest.run_id,
                    begun=number != newest,
                )
    except CorruptFile as error:
        return Head(fault=str(error))
    return replace(NONE, begun=True)


class _Memory:
    """What is remembered of one dataset; it may be lost, and then there is nothing to recall."""

    def __init__(self, store: "Store", dataset: str) -> None:
        self._dataset = store.files.url(dataset)
        self._remembered = Remembered(store.cache / "heads.sqlite", TABLES)
        self._batches: set[str] = set()

    def recall(self, listed: Mapping[str, Listed]) -> dict[str, Head]:
        """The heads whose newest manifest is the very file that was read."""
        query = "select batch, newest, size, mtime_ns, identity, said from heads where dataset = ?"
        rows: list[tuple[Any, ...]] = []
        with suppress(*UNUSABLE):
            rows = self._remembered.do(lambda connection: connection.execute(query, (self._dataset,)).fetchall())
        self._batches = {row[0] for row in rows}
        same = (row for row in rows if listed.get(row[0]) == (row[1], row[2:5]))
        return {batch: _head(said) for batch, *_, said in same}

    def keep(self, heads: Mapping[str, tuple[Listed, Head]]) -> None:
        values = [(self._dataset, batch, name, *stat, _said(head)) for batch, ((name, stat), head) in heads.items()]
        self._write("insert or replace into heads values (?, ?, ?, ?, ?, ?, ?)", values)

    def forget(self, listed: Mapping[str, Listed]) -> None:
        """Forget the batches that are no longer there: what is remembered does not outgrow the store."""
        gone = [(self._dataset, batch) for batch in self._batches - listed.keys()]
        self._write("delete from heads where dataset = ? and batch = ?", gone)

    def _write(self, statement: str, values: Iterable[tuple[object, ...]]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.executemany(statement, values)

        if values:
            with suppress(*UNUSABLE):
                self._remembered.do(write)


def _said(head: Head) -> str:
    moment = head.created_at.isoformat() if head.created_at else None
    return _encode(
        {name: getattr(head, name) for name in PLAIN} | {"counts": astuple(head.counts), "created_at": moment}
    )


def _head(said: str) -> Head:
    document = json.loads(said)
    moment = document["created_at"]
    document["created_at"] = datetime.fromisoformat(moment) if moment else None
    document["counts"] = Counts(*document["counts"])
    return Head(**document)
