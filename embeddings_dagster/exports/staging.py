"""Writes an export beside its place and puts it there when it is whole: the description goes first and comes last.

First a description that says `complete: false` and names no ids takes the place of the old one, then ids and vectors
follow, then the real one. So whatever interrupts it, nobody finds the ids of one state beside the vectors of another,
and the next export goes over what was left.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from embeddings_dagster import __version__
from embeddings_dagster.errors import ExportFailed, StorageFailed
from embeddings_dagster.exports.report import ExportedFile
from embeddings_dagster.exports.target import FORMAT_VERSION, MAKER, Target, require_free
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.held import held
from embeddings_dagster.store.hashed import Hashed
from embeddings_dagster.store.litter import EXPORTING
from embeddings_dagster.store.steps import reached

SEALED = ', "self_sha256": "'  # what stands before the seal of a description
ABANDONED = 24 * 3600  # seconds after which what a killed export left is taken away by the next one


class Staging:
    """The files of an export that is not in its place yet."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self._folder = folder
        self._files: dict[str, ExportedFile] = {}

    def path(self, name: str) -> Path:
        """Where a file lies for now."""
        return self._folder / name

    @contextmanager
    def writing(self, name: str) -> Iterator[Hashed]:
        """A handle to write a file of the export."""
        with self.path(name).open("xb") as handle:
            hashed = Hashed(handle)
            yield hashed
            handle.flush()
            os.fsync(handle.fileno())
        self._files[name] = ExportedFile(self.target.folder / name, hashed.bytes, hashed.sha256)

    def write_json(self, name: str, value: Any) -> None:
        """A JSON file of plain ASCII, which every reader decodes alike; written as it is made."""
        with self.writing(name) as file:
            for chunk in json.JSONEncoder(allow_nan=False).iterencode(value):
                file.write(chunk.encode("ascii"))
            file.write(b"\n")

    def describe(self, **said: Any) -> None:
        """Write the description: what is said, and every file there is with its sha256. The last of all files; the
        last it says is the sha256 of all that it says before, so that a change in it is found, too."""
        names = {name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in self._files.items()}
        whole = {**said, **_made(self.target, names, complete=True)}
        with self.writing(self.target.description) as file:
            held = ""
            for chunk in json.JSONEncoder(allow_nan=False).iterencode(whole):
                file.write(held.encode("ascii"))
                held = chunk  # in the end the closing brace
            file.write(f'{SEALED}{file.sha256}"{held}\n'.encode("ascii"))

    def put_in_place(self) -> tuple[ExportedFile, ...]:
        """Let the export take the place of the one before."""
        folder, target = self.target.folder, self.target
        begun = self.path(f"{target.description}.begun")
        every: dict[str, object] = dict.fromkeys(target.names)
        begun.write_text(json.dumps(_made(target, every, complete=False)) + "\n", encoding="ascii")
        begun.replace(folder / target.description)
        reached("export:begun")
        if target.ids is not None:
            (folder / target.ids).unlink(missing_ok=True)
        for name in target.names:
            if name in self._files:
                self.path(name).replace(folder / name)
                reached("export:placed")
        _sync_folder(folder)
        return tuple(self._files.values())


def _made(target: Target, files: Mapping[str, object], *, complete: bool) -> dict[str, object]:
    made_by = f"{MAKER} {__version__}"
    return {
        "made_by": made_by,
        "format": target.format,
        "format_version": FORMAT_VERSION,
        "complete": complete,
        "files": files,
    }


@contextmanager
def staged(context: StageContext, target: Target, *, force: bool) -> Iterator[Staging]:
    """A place to write to, which is gone when the block ends; the block puts the files in place.

    Raises:
        ExportRefused: the export must not go there.
        ExportFailed: there is no room or no permission.
    """
    made: list[Path] = []
    try:
        require_free(context, target, force=force)
        made = _missing_folders(target.folder)
        target.folder.mkdir(parents=True, exist_ok=True)
        with held(context, f"exports-{hashlib.sha256(os.fsencode(target.folder.resolve())).hexdigest()[:16]}"):
            require_free(context, target, force=force)  # it may have changed while another export was waited for
            _clear(target.folder)
            with tempfile.TemporaryDirectory(prefix=EXPORTING, dir=target.folder) as folder:
                yield Staging(target, Path(folder))
        made = []
    except StorageFailed:  # of what is exported, or of the cache: its message says so
        raise
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        raise ExportFailed(
            f"nothing was exported to {target.folder}: {what}{error.strerror or error}; make room there, or correct "
            "its permissions, or choose another place with --out"
        ) from error
    finally:
        for each in made:
            with suppress(OSError):  # not empty: others use it
                each.rmdir()


def _missing_folders(folder: Path) -> list[Path]:
    """Those of a path that are not there, the innermost first."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


def _clear(folder: Path) -> None:
    """Take away what killed exports left."""
    for left in folder.glob(f"{EXPORTING}*"):
        with suppress(OSError):
            if time.time() - max(each.stat().st_mtime for each in (left, *left.iterdir())) > ABANDONED:
                shutil.rmtree(left)


def _sync_folder(folder: Path) -> None:
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
