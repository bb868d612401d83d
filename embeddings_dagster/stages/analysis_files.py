"""What an analysis leaves in the store: generations, each a manifest and the immutable files that it names.

A reader gets a whole generation or an error that says how it is made again. A writer that dies before its commit leaves
files that no manifest names; the next commit gives up what is older than the newest few, and such files with it.
"""

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa

from embeddings_dagster.errors import CommitConflict, CorruptFile, StorageUnavailable, StoreError, UnknownItem
from embeddings_dagster.stages.account import now
from embeddings_dagster.store import Previous, Store
from embeddings_dagster.store.generations import GenerationChain
from embeddings_dagster.store.parts import Part, write_part
from embeddings_dagster.store.steps import reached

ROOT = "analysis"
KEPT = 3  # generations that stay when another is committed: a reader that has just begun still finds its own
ROW_GROUP_BYTES = 4 * 2**20
REMEDY = "It is derived: delete the folder {folder}, and run the job `analyse` again."


class StoredFile(NamedTuple):
    """A file of a generation, by its path in the analysis' folder; `rows` of a table, else 0."""

    file: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class AnalysisManifest:
    """One generation. `state` differs whenever what it was made from, or the rule, does; `told` is what to know of it,
    as plain values; `files` by what they are."""

    version: int
    previous: Previous | None
    created_at: datetime
    run_id: str
    state: str
    told: Mapping[str, Any]
    files: Mapping[str, StoredFile]
    name: str = ""  # whose it is; the first releases did not say
    self_sha256: str = ""

    def to_document(self) -> dict[str, Any]:
        """The JSON body, unsealed."""
        body = {name: getattr(self, name) for name in self.__slots__ if name != "self_sha256"}
        return {
            **body,
            "previous": self.previous and asdict(self.previous),
            "created_at": self.created_at.isoformat(),
            "files": {name: each._asdict() for name, each in self.files.items()},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "AnalysisManifest":
        """The manifest in a sealed document."""
        return cls(
            **{
                **{name: document[name] for name in cls.__slots__ if name != "name"},
                "name": document.get("name", ""),
                "previous": document["previous"] and Previous(**document["previous"]),
                "created_at": datetime.fromisoformat(document["created_at"]),
                "files": {name: StoredFile(**each) for name, each in document["files"].items()},
            }
        )


class Analysis(GenerationChain[AnalysisManifest]):
    """All generations of one analysis, such as `near_duplicates` or `embedding_map/clip`."""

    def __init__(self, store: Store, name: str, remedy: str = REMEDY) -> None:
        """`remedy`: what to do about a damaged file; it may name the `{folder}`."""
        super().__init__(store, f"{ROOT}/{name}", f"analysis {name}", self._of_document)
        self.name = name
        self.remedy = remedy.format(folder=self.folder)

    def files(self, manifest: AnalysisManifest) -> set[str]:
        """The path of every file of a generation."""
        return {self.path(each.file) for each in manifest.files.values()}

    def _of_document(self, document: Mapping[str, Any]) -> AnalysisManifest:
        """Raises ValueError where it is the manifest of another analysis."""
        manifest = AnalysisManifest.from_document(document)
        if manifest.name not in ("", self.name):
            raise ValueError(f"it is of the analysis {manifest.name}")
        return manifest

    def write_table(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> StoredFile:
        """Put a table into the store, as a part with checksums."""
        file = f"parts/{uuid.uuid4().hex}.parquet"
        written = write_part(self.store.files, self.path(file), schema, batches, ROW_GROUP_BYTES)
        reached("analysis:written")
        return StoredFile(file, *written)

    def write_bytes(self, data: bytes, suffix: str) -> StoredFile:
        """Put a finished file into the store."""
        file = f"parts/{uuid.uuid4().hex}.{suffix}"
        with self.store.files.writing(self.path(file)) as handle:
            handle.write(data)
        reached("analysis:written")
        return StoredFile(file, 0, len(data), hashlib.sha256(data).hexdigest())

    def read_table(self, manifest: AnalysisManifest, name: str) -> pa.Table:
        """A table of a generation.

        Raises:
            CorruptFile, MissingFile: it is not what was committed; the message says what to do.
        """
        entry = manifest.files[name]
        with self._naming_the_remedy(), self.store.checked.open(self.path(entry.file), entry.sha256) as handle:
            return Part(handle, self.store.files.url(self.path(entry.file))).read()

    def read_bytes(self, manifest: AnalysisManifest, name: str) -> bytes:
        """A file of a generation; raises as `read_table`."""
        entry = manifest.files[name]
        with self._naming_the_remedy(), self.store.checked.open(self.path(entry.file), entry.sha256) as handle:
            return handle.read()

    @contextmanager
    def _naming_the_remedy(self) -> Iterator[None]:
        try:
            yield
        except CorruptFile as error:
            raise type(error)(f"{error} {self.remedy}") from error

    def faults(self, manifest: AnalysisManifest, *, again: bool = False) -> dict[str, str]:
        """What is wrong with the files of a generation, by path; `again`: trust no remembered check."""
        found = {}
        for entry in manifest.files.values():
            try:
                self.store.checked.check(self.path(entry.file), entry.sha256, again=again)
            except StorageUnavailable:  # out of reach is not damaged
                raise
            except (StoreError, OSError) as error:
                found[self.path(entry.file)] = str(error)
        return found

    def follow(
        self,
        base: AnalysisManifest | None,
        *,
        run_id: str,
        state: str,
        told: Mapping[str, Any],
        files: Mapping[str, StoredFile],
    ) -> AnalysisManifest:
        """Commit the generation after `base`, and give up all but the newest few.

        Raises:
            CommitConflict: `base` is no longer the newest; what was written for this one is discarded.
        """
        following = AnalysisManifest(0, None, now(), run_id, state, told, files, self.name)
        try:
            manifest = self.commit(base, following)
        except CommitConflict:
            kept = {each.file for each in base.files.values()} if base else set()
            for entry in files.values():
                if entry.file not in kept:
                    with suppress(OSError):
                        self.store.files.delete(self.path(entry.file))
            raise
        self._give_up_old()
        return manifest

    def _give_up_old(self) -> None:
        """Files before their manifest, so that what is cut short is finished by the next; what cannot be deleted now is
        left to that, too."""
        with suppress(StoreError, UnknownItem, OSError):  # a gc may be at it, too
            numbers = self.numbers()
            needed = {each.file for number in numbers[-KEPT:] for each in self.get(number).files.values()}
            for number in numbers[:-KEPT]:
                for each in self.get(number).files.values():
                    if each.file not in needed:
                        self.store.files.delete(self.path(each.file))
                self.store.files.delete(self.versions.path(number))
