"""The version chain of the catalogue: its generations, opening one, and the commit of the next.

A generation is a manifest and one SQLite file. A writer that dies before its commit leaves a file that no manifest
names, and the old generation in force; one that dies after it leaves older generations that should have gone. Both are
litter: the next commit, or `gc`, takes what it finds.
"""

import hashlib
import uuid
from contextlib import suppress
from pathlib import Path

from embeddings_dagster.catalog.layout import LAYOUT, REMAKE
from embeddings_dagster.catalog.manifest import CatalogueManifest
from embeddings_dagster.catalog.snapshot import Snapshot
from embeddings_dagster.errors import CorruptFile, IndexUnavailable, MissingFile, StoreError, UnknownItem
from embeddings_dagster.store import Store
from embeddings_dagster.store.generations import GenerationChain
from embeddings_dagster.store.local_file import forget_local, local_file
from embeddings_dagster.store.steps import reached

FOLDER = "catalog"
KEPT = 3  # generations that stay when another is committed: a reader that has just begun still finds its own
CHUNK = 2**20
REMEDY = f"Its file is damaged or missing: {REMAKE}."


class Catalogue(GenerationChain[CatalogueManifest]):
    """All generations of the catalogue of a store."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, FOLDER, "catalogue of records", CatalogueManifest.from_document)

    def open(self, manifest: CatalogueManifest | None = None) -> Snapshot:
        """Open a generation, its bytes checked first; default: the newest.

        Raises:
            IndexUnavailable: there is none yet, or only one of an older release.
            CorruptFile, MissingFile: its file is not what was committed.
            FormatTooNew: a newer release made it.
        """
        if manifest is None:
            return self._open_newest()
        if manifest.layout < LAYOUT:
            raise IndexUnavailable("the catalogue of records is of an older release; `embeddings run` makes it anew")
        return Snapshot(manifest, self.local(manifest))

    def _open_newest(self) -> Snapshot:
        while numbers := self.numbers():
            try:
                return self.open(self.get(numbers[-1]))
            except (UnknownItem, MissingFile):
                if self.numbers()[-1:] == numbers[-1:]:
                    raise  # else it was given up for newer ones in between
        raise IndexUnavailable("there is no catalogue of records yet; make one with `embeddings run`")

    def local(self, manifest: CatalogueManifest) -> Path:
        """A generation's file on this machine, its bytes checked.

        Raises:
            CorruptFile, MissingFile: it is not what was committed; the message says what to do.
        """
        path = self.path(manifest.file)
        try:
            return local_file(self.store, path, manifest.sha256)
        except CorruptFile as error:
            raise type(error)(f"{error} {REMEDY}") from error

    def is_there(self, manifest: CatalogueManifest) -> bool:
        """Whether a generation's file is there and has its size, and this release reads it; no byte of it is read."""
        stat = self.store.files.stat(self.path(manifest.file))
        return stat is not None and stat.size == manifest.bytes and manifest.layout == LAYOUT

    def write(self, made: Path) -> tuple[str, int, str]:
        """Put a finished file into the store; returns its name, its size in bytes and its sha256."""
        file = f"files/{uuid.uuid4().hex}.sqlite"
        digest, size = hashlib.sha256(), 0
        with made.open("rb") as source, self.store.files.writing(self.path(file)) as target:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
        reached("catalogue:written")
        return file, size, digest.hexdigest()

    def give_up_old(self, kept: int) -> None:
        """Delete all generations but the newest so many, each file before its manifest, so that what is cut short is
        finished by the next. What cannot be deleted now is left to that, too."""
        with suppress(StoreError, UnknownItem, OSError):  # a gc may be at it, too
            numbers = self.numbers()
            needed = {self.get(number).file for number in numbers[-kept:]}
            for number in numbers[:-kept]:
                file = self.get(number).file
                if file not in needed:
                    self.discard(file)
                self.store.files.delete(self.versions.path(number))

    def discard(self, file: str) -> None:
        """Delete a file that no generation names, and its copy on this machine; readers that have it open keep it."""
        self.store.files.delete(self.path(file))
        forget_local(self.store, self.path(file))

    def files(self, manifest: CatalogueManifest) -> set[str]:
        """The path of the one file of a generation."""
        return {self.path(manifest.file)}

    def stored(self) -> list[str]:
        """Every path there is, committed or not; what no generation that is kept references is `gc`'s to take."""
        return [
            f"{folder}/{name}"
            for folder in (self.versions.folder, self.path("files"))
            for name in self.store.files.names(folder)
        ]
