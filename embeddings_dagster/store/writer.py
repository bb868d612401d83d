"""The writer of one batch: collects rows into parts, and commits each part with all it changes.

Its promise: memory holds the rows of the open part only; a killed process loses at most that part; a run that finds
nothing to change writes nothing; and nothing is called complete whose counts do not reconcile.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from embeddings_dagster.errors import CommitConflict, CountsDoNotReconcile, StoreError
from embeddings_dagster.ids import Key
from embeddings_dagster.store.base import read_base
from embeddings_dagster.store.content import content_of, row_digests
from embeddings_dagster.store.fold import fold, to_fold
from embeddings_dagster.store.litter import require_there
from embeddings_dagster.store.manifest import Counts, FailuresEntry, Manifest, PartEntry, Previous
from embeddings_dagster.store.open_part import OpenPart, PartLimits, to_batch
from embeddings_dagster.store.parts import keys_of, write_part
from embeddings_dagster.store.steps import reached
from embeddings_dagster.store.tables import FAILURES, Failure, Table

if TYPE_CHECKING:
    from embeddings_dagster.store.chain import Chain


class Writer:
    """Builds the next versions on `base`, the chain's head when the writer was made. Not for several threads."""

    def __init__(
        self,
        chain: "Chain",
        table: Table,
        *,
        run_id: str,
        label: Mapping[str, str],
        limits: PartLimits,
        clock: Callable[[], float],
        heal: bool,
    ) -> None:
        chain.store_files.require_exclusive()
        self._chain, self._table, self._run_id, self._label = chain, table, run_id, dict(label)
        self._limits, self._clock = limits, clock
        self._base = read_base(chain, chain.head(), heal=heal)
        self.base = self._last = self._base.manifest
        self.bytes_written = 0
        self.parts_written = 0
        self._entries: list[PartEntry] = list(self.base.parts) if self.base else []
        self._dead = self._base.dead
        self._rows = self._base.places
        self._digests: dict[Key, bytes] = {}
        self._failed = dict(self._base.failed)
        self._failures = self._sized(self.base.failures) if self.base and self.base.failures else None
        self._failures_changed = self._base.lost_failures
        self._changed = self._base.lost_rows or self._base.lost_failures
        self._open: OpenPart | None = None
        self._uncommitted: list[str] = []
        self._closed = False

    def present(self) -> dict[Key, str]:
        """The live keys of the base, each with the input hash its row was made from."""
        return dict(self._base.present)

    def failed(self) -> dict[Key, Failure]:
        """The failures of the base."""
        return dict(self._base.failed)

    def add(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Add all rows of one image. They take the place of rows and failures with the same keys.

        Commits an incomplete version when the part reaches a limit.

        Raises:
            StoreError: the rows do not fit the table; the message names the image, and nothing of it was added.
            CommitConflict: another writer was first.
        """
        self._require_open()
        batch = to_batch(self._table, rows)
        keys = keys_of(batch)
        part = self._part()
        for row, key in enumerate(keys, start=len(part.keys)):
            self._remove(key)
            self._rows[key] = (len(self._entries), row)
        self._digests.update(zip(keys, row_digests(batch, self._table.identity), strict=True))
        part.take(batch, keys)
        self._count_image(part)

    def fail(self, failure: Failure) -> None:
        """Record a failure, in place of the row or the failure that has its key. May commit, as `add` does."""
        self._require_open()
        key = Key(failure.image_id, failure.region)
        if self._failed.get(key) == failure:
            return
        part = self._part()
        self._remove(key)
        self._failed[key] = failure
        self._failures_changed = self._changed = True
        self._count_image(part)

    def drop(self, keys: Iterable[Key]) -> None:
        """Remove rows and failures that are no longer wanted. Unknown keys are ignored."""
        self._require_open()
        for key in keys:
            self._remove(key)

    def checkpoint(self) -> None:
        """Commit what is whole now, as an incomplete version. Does nothing when nothing changed since the last."""
        self._require_open()
        self._close_part()
        if self._changed:
            self._commit(complete=False)

    def finish(self, *, inputs: Mapping[str, Mapping[str, object]], total: int) -> Manifest:
        """Commit the complete version, and fold it when it has become scattered.

        Returns the base, and writes nothing, when nothing changed: no row, no failure, no input's content, no label.

        Raises:
            CountsDoNotReconcile: `total` inputs are not `live rows + failures`. What was done is kept, incomplete.
            CommitConflict: another writer was first.
        """
        self._require_open()
        if len(self._rows) + len(self._failed) != total:
            self.checkpoint()
            raise CountsDoNotReconcile(
                f"{self._chain.versions.what}: {total} inputs, but {len(self._rows)} rows and {len(self._failed)} "
                "failures. The work is kept and not marked complete; run again, and report this if it comes back."
            )
        if self._is_unchanged(inputs):
            assert self.base is not None
            return self.base
        self._close_part()
        manifest = self._commit(complete=True, content=self._content(), inputs=inputs)
        self._closed = True
        scattered = to_fold(manifest.parts)
        return self._fold(manifest, scattered) if scattered else manifest

    def _require_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self._chain.versions.what}: this writer is finished or has lost a race; make a new one")

    def _part(self) -> OpenPart:
        if self._open is None:
            self._open = OpenPart(self._clock())
            self._dead.append(set())
        return self._open

    def _count_image(self, part: OpenPart) -> None:
        part.images += 1
        self._changed = True
        if part.is_full(self._limits, self._clock()):
            self.checkpoint()

    def _remove(self, key: Key) -> None:
        if (where := self._rows.pop(key, None)) is not None:
            number, row = where
            self._dead[number].add(row)
            self._digests.pop(key, None)
            self._changed = True
        if self._failed.pop(key, None) is not None:
            self._failures_changed = self._changed = True

    def _close_part(self) -> None:
        """Write the open part; no manifest names it yet. If that fails, the part stays in hand."""
        part = self._open
        if part is None:
            return
        if len(self._dead[-1]) == len(part.keys):  # only failures, or every row was taken back
            self._dead.pop()
            self._open = None
            return
        file = f"parts/{uuid.uuid4().hex}.parquet"
        self._uncommitted.append(file)
        path = self._chain.path(file)
        table = self._table
        written = write_part(self._chain.store_files, path, table.schema, part.batches, table.row_group_bytes)
        self._entries.append(PartEntry(file, *written, first_key=min(part.keys), last_key=max(part.keys)))
        self._open = None
        self.bytes_written += written.bytes
        self.parts_written += 1
        reached("part:written")

    def _commit(
        self, *, complete: bool, content: str = "", inputs: Mapping[str, Mapping[str, object]] | None = None
    ) -> Manifest:
        """Create the next version from what is whole. The caller has closed the part."""
        failures = self._write_failures() if self._failures_changed else self._failures
        ok, failed = len(self._rows), len(self._failed)
        manifest = Manifest(
            dataset=self._chain.dataset,
            batch=self._chain.batch,
            version=self._last.version + 1 if self._last else 1,
            previous=Previous(self._last.version, self._last.self_sha256) if self._last else None,
            complete=complete,
            content=content,
            created_at=datetime.now(UTC),
            run_id=self._run_id,
            inputs=inputs or {},
            recipe=self._label.get("recipe"),
            fingerprint=self._label.get("fingerprint"),
            counts=Counts(ok + failed, ok, failed),
            parts=tuple(part for part in self._current_entries() if part.live),
            failures=failures,
        )
        self._last = self._create(manifest)
        self._failures, self._failures_changed, self._changed = failures, False, False
        return self._last

    def _sized(self, failures: FailuresEntry) -> FailuresEntry:
        """The entry of the base, with the bytes that releases before did not say."""
        stat = None if failures.bytes is not None else self._chain.store_files.stat(self._chain.path(failures.file))
        return replace(failures, bytes=stat.size) if stat else failures

    def _current_entries(self) -> list[PartEntry]:
        return [replace(e, dead=tuple(sorted(d))) for e, d in zip(self._entries, self._dead, strict=True)]

    def _create(self, manifest: Manifest) -> Manifest:
        try:
            named = {*(part.file for part in manifest.parts), *([manifest.failures.file] if manifest.failures else [])}
            written = [self._chain.path(file) for file in self._uncommitted if file in named]
            require_there(self._chain.store_files, written, self._chain.versions.what)
            document = self._chain.versions.create(manifest.version, manifest.to_document())
        except CommitConflict:
            self._closed = True
            for file in self._uncommitted:
                with suppress(OSError):  # what cannot be removed now is nobody's, and gc's to take
                    self._chain.store_files.delete(self._chain.path(file))
            raise
        self._uncommitted.clear()
        return Manifest.from_document(document)

    def _write_failures(self) -> FailuresEntry | None:
        if not self._failed:
            return None
        file = f"parts/{uuid.uuid4().hex}.parquet"
        self._uncommitted.append(file)
        rows = [self._failed[key].as_row() for key in sorted(self._failed)]
        batch = pa.RecordBatch.from_pylist(rows, FAILURES)
        written = write_part(self._chain.store_files, self._chain.path(file), FAILURES, [batch], batch.nbytes)
        reached("failures:written")
        return FailuresEntry(file, written.rows, written.sha256, written.bytes)

    def _content(self) -> str:
        """The hash of all live rows: those of the base read back, those added here remembered."""
        digests = list(self._digests.values())
        base_parts = self._current_entries()[: len(self.base.parts)] if self.base else []
        if self.base is not None and base_parts:
            survivors = replace(self.base, parts=tuple(part for part in base_parts if part.live))
            for batch in self._chain.scan(survivors, self._table.identity):
                digests += row_digests(batch, self._table.identity)
        return content_of(digests)

    def _is_unchanged(self, inputs: Mapping[str, Mapping[str, object]]) -> bool:
        base = self.base
        return (
            base is not None
            and base is self._last
            and base.complete
            and not self._changed
            and base.label == self._label
            and _contents(base.inputs) == _contents(inputs)
        )

    def _fold(self, manifest: Manifest, scattered: tuple[PartEntry, ...]) -> Manifest:
        """A version more, of the same rows. Whatever goes wrong in it, `manifest` stands."""
        file = f"parts/{uuid.uuid4().hex}.parquet"
        self._uncommitted.append(file)
        folded = fold(self._chain, self._table, manifest, scattered, file)
        self.bytes_written += folded.bytes
        self.parts_written += 1
        reached("fold:written")
        following = replace(
            manifest,
            version=manifest.version + 1,
            previous=Previous(manifest.version, manifest.self_sha256),
            created_at=datetime.now(UTC),
            parts=(*(part for part in manifest.parts if part not in scattered), folded),
        )
        try:
            return self._create(following)
        except CommitConflict:
            return manifest


def _contents(inputs: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """What of the inputs decides staleness: a version that says the same as the one before makes nothing stale."""
    return {name: value.get("content", value) for name, value in inputs.items()}
