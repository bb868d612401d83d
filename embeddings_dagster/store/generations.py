"""The version chain of something made from all batches: its generations, each complete in itself, and the commit of
the next one.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from embeddings_dagster.errors import MissingFile, UnknownItem
from embeddings_dagster.store.linked import placed
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


class GenerationChain(Generic[Generation]):
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
        numbers = self.numbers()
        return self.get(numbers[-1]) if numbers else None

    def get(self, number: int) -> Generation:
        """One generation.

        Raises:
            UnknownItem: there is none of that number, or it was given up for newer ones.
            CorruptFile, FormatTooNew: its manifest cannot be used.
        """
        try:
            document = self.versions.read(number)
        except MissingFile as error:
            there = ", ".join(map(str, self.numbers())) or "none"
            raise UnknownItem(
                f"the {self.versions.what} has no generation {number} (there: {there}){self._see}"
            ) from error
        return placed(document, self.store.files.url(self.versions.path(number)), self._parse, version=number)

    def commit(self, base: Generation | None, following: Generation) -> Generation:
        """Create `following` as the next generation after `base`; its version, previous and date are set here.

        Raises:
            CommitConflict: `base` is no longer the newest.
            NotExclusive: two writers could overwrite each other on this storage.
        """
        self.store.files.require_exclusive()
        manifest = replace(
            following,
            version=base.version + 1 if base else 1,
            previous=Previous(base.version, base.self_sha256) if base else None,
            created_at=datetime.now(UTC),
        )
        return self._parse(self.versions.create(manifest.version, manifest.to_document()))

    def path(self, file: str) -> str:
        """A manifest's file name as a path under the store's root."""
        return f"{self.folder}/{file}"
