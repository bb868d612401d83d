"""The version chain of something made from all batches: its generations, each complete in itself, and the commit of
the next one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from embeddings_dagster.errors import MissingFile, UnknownItem
from embeddings_dagster.store.linked import placed
from embeddings_dagster.store.litter import require_there
from embeddings_dagster.store.manifest import Previous
from embeddings_dagster.store.store import Store
from embeddings_dagster.store.versions import Versions


class Numbered(Protocol):
    """The manifest of a generation: a dataclass that has these fields among its own."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def version(self) -> int: ...

    @property
    def previous(self) -> Previous | None: ...

    @property
    def self_sha256(self) -> str: ...

    def to_document(self) -> dict[str, Any]: ...


Generation = TypeVar("Generation", bound=Numbered)


class GenerationChain(ABC, Generic[Generation]):
    """All generations in a folder of the store. `what` it is called in messages; `parse` makes a manifest of a sealed
    document; `see` says where the generations that there are can be looked up."""

    def __init__(
        self, store: Store, folder: str, what: str, parse: Callable[[Mapping[str, Any]], Generation], see: str = ""
    ) -> None:
        self.store = store
        self.folder = folder
        self.versions = Versions(store.files, f"{folder}/manifests", what)
        self._parse, self._see = parse, see

    def numbers(self) -> list[int]:
        """Every generation that exists, oldest first; one listing of a folder."""
        return self.versions.numbers()

    def latest(self) -> Generation | None:
        """The newest generation. Raises CorruptFile, FormatTooNew."""
        return self.versions.newest(self._read)

    def get(self, number: int) -> Generation:
        """One generation.

        Raises:
            UnknownItem: there is none of that number, or it was given up for newer ones.
            CorruptFile, FormatTooNew: its manifest cannot be used.
        """
        try:
            return self._read(number)
        except MissingFile as error:
            there = ", ".join(map(str, self.numbers())) or "none"
            raise UnknownItem(
                f"the {self.versions.what} has no generation {number} (there: {there}){self._see}"
            ) from error

    def _read(self, number: int) -> Generation:
        url = self.store.files.url(self.versions.path(number))
        return placed(self.versions.read(number), url, self._parse, version=number)

    def commit(self, base: Generation | None, following: Generation) -> Generation:
        """Create `following` as the next generation after `base`; its version, previous and date are set here.

        Raises:
            CommitConflict: `base` is no longer the newest, or a file of `following` is gone.
            NotExclusive: two writers could overwrite each other on this storage.
        """
        self.store.files.require_exclusive()
        written = self.files(following) - (self.files(base) if base else set())
        require_there(self.store.files, sorted(written), self.versions.what)
        manifest = replace(
            following,
            version=base.version + 1 if base else 1,
            previous=Previous(base.version, base.self_sha256) if base else None,
            created_at=datetime.now(UTC),
        )
        return self._parse(self.versions.create(manifest.version, manifest.to_document()))

    @abstractmethod
    def files(self, manifest: Generation) -> set[str]:
        """The path of every file that a generation needs."""

    def referenced(self, manifest: Generation) -> set[str]:
        """Every path that a generation needs, its manifest included."""
        return self.files(manifest) | {self.versions.path(manifest.version)}

    def path(self, file: str) -> str:
        """A manifest's file name as a path under the store's root."""
        return f"{self.folder}/{file}"
