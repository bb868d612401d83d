"""A compiled model's files, kept in a folder: whole, or not there; and told from any other by one digest.

`contents.json` holds the sha256 of each file beside it, and a note on what they were made from. Its own sha256 is the
digest of all. Folders appear by rename, so a killed process leaves none that is half written.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from embeddings_dagster.encoders.identity import remembered_sha256

CONTENTS = "contents.json"
MODEL = "model.xml"
WEIGHTS = "model.bin"
FILES = (MODEL, WEIGHTS)

Contents = dict[str, Any]


def keep(folder: Path, write: Callable[[Path], None], note: Mapping[str, Any], *, name: str | None = None) -> str:
    """Put a model into a folder within `folder`, of that name or else named after its digest; returns the digest.

    `write` is given an empty folder, and leaves `FILES` there. What is there already under that name is replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{uuid.uuid4().hex}.tmp"
    beside.mkdir()
    try:
        write(beside)
        data = _encoded({**note, "files": {each: _sha256(beside / each) for each in FILES}})
        (beside / CONTENTS).write_bytes(data)
        digest = _digest_of(data)
        _take_place(beside, folder / (name or digest))
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return digest


def is_whole(folder: Path, digest: str | None = None) -> bool:
    """Whether every file in `folder` is what was put there, and, with `digest`, is that very model."""
    try:
        data = (folder / CONTENTS).read_bytes()
        files = json.loads(data)["files"]
        if digest not in (None, _digest_of(data)):
            return False
        return all(remembered_sha256(folder / name) == files[name] for name in FILES)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_contents(folder: Path) -> Contents:
    """What `contents.json` holds, of a folder that is whole."""
    contents: Contents = json.loads((folder / CONTENTS).read_bytes())
    return contents


def _encoded(contents: Mapping[str, Any]) -> bytes:
    """The one way that `contents.json` is written: the same contents, the same digest."""
    return json.dumps(contents, sort_keys=True, indent=1).encode()


def _digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _take_place(beside: Path, folder: Path) -> None:
    """Rename; what was in the way goes. If another process is as far at the same moment, its folder is as good."""
    if folder.exists():
        old = beside.with_suffix(".old")
        with suppress(FileNotFoundError):
            folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    with suppress(OSError):  # not empty: another's; `is_whole` tells
        os.replace(beside, folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
