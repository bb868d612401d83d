"""What killed processes left outside of the store's chains: probes at its root, and on this machine the unfinished of
`cache/`, of downloads and of exports.

All of it was being written, and has a name that says so; what is whole in these folders is never looked at, but for
copies and look-up tables of what the store no longer has.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from embeddings_dagster.store import Store, litter

MAKING = re.compile(r"\.[0-9a-f]{32}\.(tmp|old)|tmp[a-z0-9_]{8}")  # folders that are being made, or were to go
TABLE = re.compile(r"(?P<model>.+)-(?P<fp12>[0-9a-f]{12})\.sqlite")
TABLES = {"vectors": "embeddings", "indexes": "indexes"}  # folder of look-up tables -> of what they are of


class Left(NamedTuple):
    """A file or folder that may be litter: at `path`, absolute but for those of the store, last changed at `at_ns`.
    `lock`: held by whoever is at work on it, where there is one."""

    path: str
    bytes: int
    at_ns: int
    kind: str
    why: str
    lock: str | None = None


def left_behind(store: Store) -> Iterator[Left]:
    """All that may be litter outside of chains."""
    for name in store.files.hidden(""):
        stat = store.files.stat(name) if litter.PROBING.fullmatch(name) else None
        if stat is not None:
            yield Left(name, stat.size, stat.mtime_ns, litter.PROBE, "whoever asked was killed")
    yield from _in_cache(store)
    root = store.files.local("") or store.cache
    for partial in sorted((root / "image_cache").glob("*/.partial/*")):
        yield from _left(partial, litter.DOWNLOAD, "the download was killed")
    for folder in _staging(root / "exports") if store.files.local("") else ():
        lock = f"exports-{hashlib.sha256(os.fsencode(folder.parent.resolve())).hexdigest()[:16]}"
        yield from _left(folder, litter.EXPORT, "the export was killed before it was in its place", lock)


def _in_cache(store: Store) -> Iterator[Left]:
    cache = store.cache
    for upload in sorted((cache / "uploads").glob("*")):
        yield from _left(upload, litter.UPLOAD, "the upload was killed")
    yield from _left(cache / "catalog" / "making", litter.DERIVED, "a refresh of the catalogue was killed", "catalog")
    for folder, folders, files in os.walk(cache):
        here = Path(folder)
        for name in [each for each in folders if MAKING.fullmatch(each)]:
            folders.remove(name)
            yield from _left(here / name, litter.DERIVED, "whoever made it was killed")
        for name in sorted(files):
            if litter.UNFINISHED.fullmatch(name):
                yield from _left(here / name, litter.DERIVED, "whoever wrote it was killed")
    for kind, what in TABLES.items():
        for table in sorted((cache / kind).glob("*.sqlite")):
            match = TABLE.fullmatch(table.name)
            if match and match["fp12"] not in store.files.folders(f"{what}/{match['model']}"):
                yield from _left(table, litter.DERIVED, "what it looks up is gone")
    copies = cache / "fetched"
    for folder, _, files in os.walk(copies):
        for name in sorted(files):
            copy = Path(folder, name)
            if not litter.UNFINISHED.fullmatch(name) and store.files.stat(copy.relative_to(copies).as_posix()) is None:
                yield from _left(copy, litter.COPY, "the store has it no longer")


def _staging(exports: Path) -> Iterator[Path]:
    for folder, folders, _ in os.walk(exports):
        for name in [each for each in sorted(folders) if each.startswith(litter.EXPORTING)]:
            folders.remove(name)
            yield Path(folder, name)


def _left(path: Path, kind: str, why: str, lock: str | None = None) -> Iterator[Left]:
    """A file, or a folder with all that is in it; nothing where it vanished meanwhile."""
    try:
        inside = [Path(folder, name) for folder, _, files in os.walk(path) for name in files]
        stats = [each.lstat() for each in (path, *inside)]
    except FileNotFoundError:
        return
    size = sum(stat.st_size for stat in stats[1:]) if inside or path.is_dir() else stats[0].st_size
    yield Left(str(path), size, max(stat.st_mtime_ns for stat in stats), kind, why, lock)
