"""The pictures on disk, each with its row in the record; a file that is not what its row says is no picture."""

import contextlib
import hashlib
import logging
import os
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from embeddings_dagster.errors import SourceError
from embeddings_dagster.sources.addresses import shown
from embeddings_dagster.sources.downloads.answers import Answer
from embeddings_dagster.sources.downloads.failure import Failure
from embeddings_dagster.sources.downloads.names import mark, slot_of, stem_of
from embeddings_dagster.sources.downloads.record import Record, Row
from embeddings_dagster.sources.local_files import open_regular
from embeddings_dagster.store.steps import reached

_PARTIAL = ".partial"
_OLD_SECONDS = 3600  # a half-written file of that age belongs to a process that was killed
_log = logging.getLogger(__name__)


class Cache:
    """Files and rows of one source's downloads."""

    def __init__(self, folder: Path) -> None:
        self.record = Record(folder)
        self._folder = folder
        self._swept = False

    def load(self, row: Row) -> bytes | None:
        """The picture of a row; None if its file is missing or damaged, which is logged."""
        data = self._read(row)
        if data is not None:
            return data
        # Another process may have put a newer picture there, and not its row yet: that takes the time of a rename.
        with self.record.writing():
            now = self.record.get(row.url) or row
        data = self._read(now) if now != row else None
        if data is None and now.file is not None:
            _log.warning("%s: the cached file %s is missing or damaged", shown(row.url), now.file)
        return data

    def keep(self, url: str, name: str, answer: Answer, *, surprising: bool) -> bool:
        """Keep a picture that came; returns whether it is another one than was known of before, which is a new
        revision. `surprising`: so is one that came where no picture was known."""
        data = answer.data or b""
        sha256 = hashlib.sha256(data).hexdigest()
        partial = self._write_partial(data)
        with self._disk():
            try:
                with self.record.writing():
                    before = self.record.get(url)
                    stem = self._stem(url, name)
                    known = before.sha256 if before else None
                    changed = surprising if known is None else known != sha256
                    row = Row(
                        url=url,
                        name=name,
                        slot=slot_of(stem),
                        file=f"{stem}{answer.extension}",
                        size=len(data),
                        sha256=sha256,
                        etag=answer.etag,
                        last_modified=answer.last_modified,
                        revision=(before.revision if before else 0) + changed,
                        fetched_at=time.time(),
                    )
                    obsolete = self._evict(row) | ({before.file} if before and before.file else set())
                    os.replace(partial, self._folder / str(row.file))
                    reached("download:placed")
                    self.record.put(row)
                    if changed:
                        self.record.changed()
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
            self._remove(obsolete, str(row.file))
        return changed

    def confirm(self, row: Row, answer: Answer) -> None:
        """The picture of a row is still that of its address."""
        etag, last_modified = answer.etag or row.etag, answer.last_modified or row.last_modified
        with self.record.writing():
            self.record.put(replace(row.healthy(), etag=etag, last_modified=last_modified, fetched_at=time.time()))

    def fail(self, url: str, name: str, failure: Failure, rules: str) -> None:
        """Remember a failed attempt; a picture that is there stays."""
        now = time.time()
        with self.record.writing():
            row = self.record.get(url) or Row(url, name)
            self.record.put(
                replace(
                    row,
                    failure=failure.kind.__name__,
                    why=failure.why,
                    rules=rules,
                    message=failure.message,
                    status=failure.status,
                    not_before=None if failure.wait is None else now + failure.wait,
                    failed_at=now,
                    attempts=row.attempts + 1,
                )
            )

    def _read(self, row: Row) -> bytes | None:
        if row.file is None or row.size is None or not _is_plain(row.file):
            return None
        try:
            with open(open_regular(str(self._folder / row.file)), "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode) or found.st_size != row.size:
                    return None
                data = file.read(row.size + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self._folder, error) from error
        return data if hashlib.sha256(data).hexdigest() == row.sha256 else None

    def _stem(self, url: str, name: str) -> str:
        """The file name for an id, told apart from other ids' that a disk might take for the same."""
        stem = stem_of(name)
        owner = self.record.in_slot(slot_of(stem))
        return stem if owner is None or owner.url == url or owner.name == name else mark(stem, name)

    def _evict(self, row: Row) -> set[str]:
        """Take a slot from the address that an id had before; returns its file."""
        owner = self.record.in_slot(str(row.slot))
        if owner is None or owner.url == row.url:
            return set()
        self.record.put(replace(owner, slot=None, file=None))
        return {owner.file} if owner.file else set()

    def _remove(self, files: set[str], kept: str) -> None:
        for file in filter(_is_plain, files):
            with contextlib.suppress(FileNotFoundError):
                # Names that differ in case alone are one file on some disks.
                if not os.path.samefile(self._folder / file, self._folder / kept):
                    (self._folder / file).unlink()

    def _write_partial(self, data: bytes) -> Path:
        with self._disk():
            folder = self._folder / _PARTIAL
            folder.mkdir(parents=True, exist_ok=True)
            self._sweep(folder)
            path = folder / uuid.uuid4().hex
            try:
                path.write_bytes(data)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            return path

    def _sweep(self, folder: Path) -> None:
        if self._swept:
            return
        self._swept = True
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _OLD_SECONDS:
                    path.unlink()

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _unusable(self._folder, error) from error


def _is_plain(file: str) -> bool:
    """Whether it is the name of a file in the folder, and no path: whoever can write the record could name any."""
    return file not in ("", ".", "..") and not set(file) & set("/\\\0")


def _unusable(folder: Path, error: OSError) -> SourceError:
    return SourceError(
        f"{folder}: the image cache cannot be used ({error.strerror or error}); check its disk, the space on it and "
        "its permissions, then run again. What was fetched is kept."
    )
