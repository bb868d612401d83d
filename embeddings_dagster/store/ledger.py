"""The ledger of a source: which images lie in which batch, and what is known of each.

Written by discovery alone. One part per batch, replaced whole; one manifest for the source, so that a look at it tells
which batches changed, and since when.
"""

import uuid
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.errors import CommitConflict, CorruptFile, StoreError
from embeddings_dagster.store.checked import Checked
from embeddings_dagster.store.content import content_of, row_digests
from embeddings_dagster.store.files import Files, Stat
from embeddings_dagster.store.linked import placed
from embeddings_dagster.store.litter import require_there
from embeddings_dagster.store.local_file import open_kept
from embeddings_dagster.store.manifest import Previous
from embeddings_dagster.store.parts import Part, write_part
from embeddings_dagster.store.steps import reached
from embeddings_dagster.store.tables import LEDGER
from embeddings_dagster.store.versions import SEAL, Versions

STATE_COLUMNS = tuple(name for name in LEDGER.names if name not in ("first_seen", "removed_at"))
TIMES = ("first_seen", "scraped_at")
ROW_GROUP_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class LedgerBatch:
    """One batch. `source_state` hashes its live rows, `since` is the ledger version that last changed it."""

    key: str
    source_state: str
    since: int
    live: int
    total: int
    first_seen: datetime | None
    scraped_at: datetime | None
    file: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LedgerManifest:
    """One version of a source's ledger: all that a sensor needs, in one file."""

    source: str
    version: int
    previous: Previous | None
    created_at: datetime
    run_id: str
    batches: Mapping[str, LedgerBatch]
    self_sha256: str = ""

    def to_document(self) -> dict[str, Any]:
        """The JSON body, unsealed; `batches` is an iterator: dictionaries of all of them weigh more than they do."""
        batches = (
            {name: _plain(getattr(self.batches[key], name)) for name in LedgerBatch.__slots__}
            for key in sorted(self.batches)
        )
        return {
            "source": self.source,
            "version": self.version,
            "previous": self.previous and asdict(self.previous),
            "created_at": self.created_at.isoformat(),
            "run_id": self.run_id,
            "batches": batches,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "LedgerManifest":
        """The manifest in a sealed document."""
        batches = [
            LedgerBatch(**{**entry, **{name: _to_time(entry[name]) for name in TIMES}}) for entry in document["batches"]
        ]
        return cls(
            source=document["source"],
            version=document["version"],
            previous=document["previous"] and Previous(**document["previous"]),
            created_at=datetime.fromisoformat(document["created_at"]),
            run_id=document["run_id"],
            batches={batch.key: batch for batch in batches},
            self_sha256=document["self_sha256"],
        )


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _to_time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


class Newest(NamedTuple):
    """A manifest, and the state of the file that it was read from."""

    manifest: LedgerManifest
    stat: Stat


class Ledger:
    """All versions of one source's ledger."""

    def __init__(
        self, files: Files, checked: Checked, source: str, newest: "MutableMapping[str, Newest] | None" = None
    ) -> None:
        """`newest`: the newest manifest of each source, as this process last read it."""
        self.source = source
        self._newest = {} if newest is None else newest
        self.folder = f"sources/{source}"
        self.versions = Versions(files, f"{self.folder}/manifests", f"ledger of source {source}")
        self._files = files
        self._checked = checked

    def latest(self) -> LedgerManifest | None:
        """The newest version; read and verified once, as long as its file stays as it is.

        A ledger of ten thousand batches has four megabytes, and each run of a batch asks for it.

        Raises:
            CorruptFile, FormatTooNew: it cannot be used.
        """
        return self.versions.newest(self._remembered)

    def _remembered(self, number: int) -> LedgerManifest:
        stat = self._files.stat(self.versions.path(number))
        known = self._newest.get(self.source)
        if known is not None and (known.manifest.version, known.stat) == (number, stat):
            return known.manifest
        manifest = self.get(number)
        if stat is not None:
            self._newest[self.source] = Newest(manifest, stat)
        return manifest

    def get(self, version: int) -> LedgerManifest:
        """One version. Raises MissingFile, CorruptFile, FormatTooNew."""
        url, document = self._files.url(self.versions.path(version)), self.versions.read(version)
        return placed(document, url, LedgerManifest.from_document, source=self.source, version=version)

    def rows(self, manifest: LedgerManifest, batch: str) -> pa.Table:
        """A batch's rows, tombstones (`removed_at` is set) included; empty when the ledger has no such batch."""
        entry = manifest.batches.get(batch)
        if entry is None:
            return LEDGER.empty_table()
        path = self.path(entry.file)
        with open_kept(self._files, self._checked, path, entry.sha256) as handle:  # each tick of a sensor asks for all
            return Part(handle, self._files.url(path)).read()

    def path(self, file: str) -> str:
        """A manifest's file name as a path under the store's root."""
        return f"{self.folder}/{file}"

    def commit(
        self,
        base: LedgerManifest | None,
        changed: Mapping[str, pa.Table],
        *,
        run_id: str,
        scraped_at: Mapping[str, datetime] | None = None,
        anew: bool = False,
    ) -> LedgerManifest:
        """Commit the next version after `base`; `changed` gives the whole new table of each batch that may differ.

        Returns `base`, and writes nothing, when no row differs; `anew` writes all the same, for files that are damaged
        where this machine has a whole copy. `since` moves only with `source_state`.

        Raises:
            StoreError: a table is not one of that batch, or has an image twice.
            CommitConflict: `base` is no longer the newest.
            NotExclusive: two writers could overwrite each other on this storage.
        """
        self._files.require_exclusive()
        version = base.version + 1 if base else 1
        batches = dict(base.batches) if base else {}
        written: list[str] = []
        for key in sorted(changed):
            table = changed[key]
            before = batches.get(key)
            scraped = (scraped_at or {}).get(key, before.scraped_at if before else None)
            rows = _in_order(key, table)
            if not anew and base and before and before.scraped_at == scraped and self._holds(base, key, rows):
                continue
            batches[key] = self._write(key, rows, before, version, scraped)
            written.append(batches[key].file)
        if base is not None and not written:
            return base
        previous = Previous(base.version, base.self_sha256) if base else None
        manifest = LedgerManifest(self.source, version, previous, datetime.now(UTC), run_id, batches)
        try:
            require_there(self._files, map(self.path, written), self.versions.what)
            document = self.versions.create(version, manifest.to_document())
        except CommitConflict:
            for file in written:
                with suppress(OSError):
                    self._files.delete(self.path(file))
            raise
        return replace(manifest, self_sha256=document[SEAL])

    def _holds(self, base: LedgerManifest, key: str, rows: pa.Table) -> bool:
        """Whether a batch has just these rows; of a part that is damaged nothing is known, and it is replaced."""
        try:
            return bool(self.rows(base, key).equals(rows))
        except CorruptFile:
            return False

    def _write(
        self, key: str, rows: pa.Table, before: LedgerBatch | None, version: int, scraped_at: datetime | None
    ) -> LedgerBatch:
        file = f"parts/{uuid.uuid4().hex}.parquet"
        written = write_part(self._files, self.path(file), LEDGER, rows.to_batches(), ROW_GROUP_BYTES)
        reached("ledger:written")
        live = rows.filter(pc.is_null(rows.column("removed_at")))
        state = content_of(row_digests(live, STATE_COLUMNS))
        return LedgerBatch(
            key=key,
            source_state=state,
            since=before.since if before and before.source_state == state else version,
            live=len(live),
            total=len(rows),
            first_seen=pc.min(rows.column("first_seen")).as_py(),
            scraped_at=scraped_at,
            file=file,
            **written._asdict(),
        )


def _in_order(batch: str, table: pa.Table) -> pa.Table:
    """A batch's rows as they are kept: by local id and ordinal, so that another order is no change."""
    rows = table.select(LEDGER.names).cast(LEDGER).sort_by([("local_id", "ascending"), ("ordinal", "ascending")])
    keys = set(zip(rows.column("local_id").to_pylist(), rows.column("ordinal").to_pylist(), strict=True))
    if len(keys) != len(rows) or set(rows.column("batch").to_pylist()) - {batch}:
        raise StoreError(f"ledger, batch {batch}: rows of another batch, or several rows of one image; report this")
    return rows
