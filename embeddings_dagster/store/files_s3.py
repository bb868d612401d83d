"""Files of an S3 bucket, by the requests that are needed and no more: one for a listing, one to tell a file's state.

s3fs looks for a folder where it finds no object, and lists the folder above one that is empty; each such look costs
money, and the time of an answer. What it deletes in one request and is refused, it does not tell.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from embeddings_dagster.errors import NotExclusive, StorageUnavailable
from embeddings_dagster.store.files import Stat
from embeddings_dagster.store.files_object import ObjectFiles, stat_of
from embeddings_dagster.store.object_system import REFUSED, code_of, explained

CONFLICTS = 8  # tries to create while another conditional write of the same name is under way, which S3 answers by 409
WAIT = 0.05  # seconds before the second of them; each further one waits twice as long


class S3Files(ObjectFiles):
    """A bucket, or a prefix in one."""

    def __init__(self, url: str, scratch: Path) -> None:
        super().__init__(url, scratch)
        self._bucket, self._base, _ = self._fs.split_path(self._prefix)

    def _key(self, path: str) -> str:
        return f"{self._base}/{path}" if self._base else path

    def _below(self, folder: str) -> str:
        """What the keys of all that is in a folder begin with."""
        key = self._key(folder).strip("/")
        return f"{key}/" if key else ""

    def read(self, path: str) -> bytes:
        with explained(self.url(path)):  # with a start, the size is not asked for first
            return cast(bytes, self._fs.cat_file(self._address(path), start=0))

    def stat(self, path: str) -> Stat | None:
        with explained(self.url(path)):
            try:
                return stat_of(self._fs.call_s3("head_object", Bucket=self._bucket, Key=self._key(path)))
            except FileNotFoundError:
                return None

    def _put_new(self, path: str, data: bytes) -> None:
        for wait in (WAIT * 2**number for number in range(CONFLICTS)):
            try:
                return super()._put_new(path, data)
            except FileExistsError:
                raise
            except OSError as error:
                code = code_of(error)
                if code in ("PreconditionFailed", "412"):
                    raise FileExistsError(self.url(path)) from error
                if code == "NotImplemented":
                    raise NotExclusive(
                        f"{self.root}: this storage has no conditional writes, so two writers could overwrite each "
                        "other's commits. Use a local disk, or an object store that has them."
                    ) from error
                if code not in ("ConditionalRequestConflict", "409"):
                    raise
                time.sleep(wait)
        raise StorageUnavailable(f"{self.url(path)}: others write it all the time. Nothing is damaged; run again.")

    def _listed(self, folder: str, kind: str) -> list[str]:
        below = self._below(folder)
        pages = self._pages(folder, "/")
        if kind == "file":
            found = [entry["Key"] for page in pages for entry in _files(page)]
        else:
            found = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
        names = (each.removeprefix(below).rstrip("/") for each in found)
        return sorted(name for name in names if name)

    def _all(self, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
        below = self._below(folder)
        for page in self._pages(folder):
            for entry in _files(page):
                yield entry["Key"].removeprefix(below), entry

    def delete_folder(self, folder: str) -> None:
        for page in self._pages(folder):
            keys = [{"Key": entry["Key"]} for entry in _files(page)]
            if not keys:
                continue
            with explained(self.url(folder)):
                answer = self._fs.call_s3(
                    "delete_objects", Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True}
                )
            if refused := answer.get("Errors"):
                first = refused[0]
                raise StorageUnavailable(
                    f"{self.url(folder)}: {len(refused):,} of {len(keys):,} files could not be deleted, the first of "
                    f"them {first.get('Key')} ({first.get('Code')}): {REFUSED}."
                )

    def _pages(self, folder: str, delimiter: str = "") -> Iterator[dict[str, Any]]:
        """The answers of a listing, a thousand keys each."""
        wanted: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._below(folder), "Delimiter": delimiter}
        while True:
            with explained(self.url(folder)):
                page = self._fs.call_s3("list_objects_v2", **wanted)
            yield page
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]


def _files(page: dict[str, Any]) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", page.get("Contents", []))
