"""Hands out a committed file of the store as a path on this machine, its sha256 checked once.

faiss, memory maps and SQLite need real files. On a local root that is the file itself; from an object store it is a
copy under `cache/`, fetched once, checked like any other file, and fetched again when the copy is damaged or gone.
"""

from pathlib import Path

from embeddings_dagster.errors import CorruptFile, MissingFile
from embeddings_dagster.store.checked import REMEDY, Checked
from embeddings_dagster.store.files_local import LocalFiles
from embeddings_dagster.store.hashed import Hashed
from embeddings_dagster.store.store import Store

CHUNK = 2**20


def local_file(store: Store, path: str, sha256: str) -> Path:
    """The local path of `path` (relative to the store's root), whose bytes have this sha256.

    Raises:
        MissingFile: there is no such file.
        CorruptFile: it holds something else; the message names it.
    """
    there = store.files.local(path)
    if there is not None:
        store.checked.check(path, sha256)
        return there
    copies = _copies(store)
    checked = Checked(copies, store.cache)
    try:
        checked.check(path, sha256)
    except CorruptFile:  # MissingFile is one, too
        _fetch(store, path, sha256, copies)
        checked.check(path, sha256)
    return copies.local(path)


def _fetch(store: Store, path: str, sha256: str, copies: LocalFiles) -> None:
    """Read once, hashed on the way; what is not what was committed does not get its name here."""
    try:
        source = store.files.open(path)
    except FileNotFoundError as error:
        raise MissingFile(f"{store.files.url(path)} is missing. {REMEDY}") from error
    with source, copies.writing(path) as copy:
        hashed = Hashed(copy)
        while chunk := source.read(CHUNK):
            hashed.write(chunk)
        if hashed.sha256 != sha256:
            raise CorruptFile(f"{store.files.url(path)} does not hold what was committed. {REMEDY}")


def forget_local(store: Store, path: str) -> None:
    """Delete this machine's copy of a file that is not needed any more; the file itself is left alone."""
    if store.files.local(path) is None:
        _copies(store).delete(path)


def _copies(store: Store) -> LocalFiles:
    return LocalFiles(store.cache / "fetched")
