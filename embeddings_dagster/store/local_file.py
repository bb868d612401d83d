"""Hands out a committed file of the store as a path on this machine, its sha256 checked once.

faiss, memory maps and SQLite need real files. On a local root that is the file itself; from an object store it is a
copy under `cache/`, fetched once, checked like any other file, and fetched again when the copy is damaged or gone.
"""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from embeddings_dagster.errors import CorruptFile, MissingFile
from embeddings_dagster.store.checked import REMEDY, Checked
from embeddings_dagster.store.files import Files
from embeddings_dagster.store.files_local import LocalFiles
from embeddings_dagster.store.hashed import Hashed

if TYPE_CHECKING:
    from embeddings_dagster.store.store import Store

CHUNK = 2**20


def local_file(store: "Store", path: str, sha256: str) -> Path:
    """The local path of `path` (relative to the store's root), whose bytes have this sha256.

    Raises:
        MissingFile: there is no such file.
        CorruptFile: it holds something else; the message names it.
    """
    there = store.files.local(path)
    if there is None:
        return _local_copy(store.files, store.cache, path, sha256)
    store.checked.check(path, sha256)
    return there


def open_kept(files: Files, checked: Checked, path: str, sha256: str) -> BinaryIO:
    """A handle on a small file that is read again and again; of one on an object store, the copy is kept.

    Raises:
        MissingFile, CorruptFile: as `local_file` does.
    """
    if files.local(path) is not None:
        return checked.open(path, sha256)
    return _local_copy(files, checked.cache, path, sha256).open("rb")


def _local_copy(files: Files, cache: Path, path: str, sha256: str) -> Path:
    copies = _copies(cache)
    checked = Checked(copies, cache)
    try:
        checked.check(path, sha256)
    except CorruptFile:  # MissingFile is one, too
        _fetch(files, path, sha256, copies)
        checked.check(path, sha256)
    return copies.local(path)


def _fetch(files: Files, path: str, sha256: str, copies: LocalFiles) -> None:
    """Read once, hashed on the way; what is not what was committed does not get its name here."""
    try:
        source = files.open(path)
    except FileNotFoundError as error:
        raise MissingFile(f"{files.url(path)} is missing. {REMEDY}") from error
    with source, copies.writing(path) as copy:
        hashed = Hashed(copy)
        while chunk := source.read(CHUNK):
            hashed.write(chunk)
        if hashed.sha256 != sha256:
            raise CorruptFile(f"{files.url(path)} does not hold what was committed. {REMEDY}")


def forget_local(store: "Store", path: str) -> None:
    """Delete this machine's copy of a file that is not needed any more; the file itself is left alone."""
    if store.files.local(path) is None:
        _copies(store.cache).delete(path)


def forget_local_folder(store: "Store", folder: str) -> None:
    """Delete this machine's copies of all that is in a folder; the files themselves are left alone."""
    if store.files.local(folder) is None:
        _copies(store.cache).delete_folder(folder)


def _copies(cache: Path) -> LocalFiles:
    return LocalFiles(cache / "fetched")
