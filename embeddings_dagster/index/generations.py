"""The version chain of one index: its generations, and the commit of the next one."""

from dataclasses import replace
from datetime import UTC, datetime

from embeddings_dagster.errors import MissingFile, UnknownItem
from embeddings_dagster.index.manifest import GenerationManifest
from embeddings_dagster.store import Previous, Store, Versions


class Generations:
    """All generations of the index of one model's fingerprint."""

    def __init__(self, store: Store, model: str, fp12: str) -> None:
        self.store = store
        self.model = model
        self.fp12 = fp12
        self.folder = f"indexes/{model}/{fp12}"
        self.versions = Versions(store.files, f"{self.folder}/manifests", f"index of {model} ({fp12})")

    def numbers(self) -> list[int]:
        """Every generation that exists, oldest first; one listing of a folder."""
        return self.versions.numbers()

    def latest(self) -> GenerationManifest | None:
        """The newest generation. Raises CorruptFile, FormatTooNew."""
        numbers = self.numbers()
        return self.get(numbers[-1]) if numbers else None

    def get(self, number: int) -> GenerationManifest:
        """One generation.

        Raises:
            UnknownItem: there is none of that number.
            CorruptFile, FormatTooNew: its manifest cannot be used.
        """
        try:
            return GenerationManifest.from_document(self.versions.read(number))
        except MissingFile as error:
            there = ", ".join(map(str, self.numbers())) or "none"
            raise UnknownItem(
                f"the index of {self.model} has no generation {number} (there: {there}); see `embeddings index list`"
            ) from error

    def commit(self, base: GenerationManifest | None, following: GenerationManifest) -> GenerationManifest:
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
        return GenerationManifest.from_document(self.versions.create(manifest.version, manifest.to_document()))

    def path(self, file: str) -> str:
        """A manifest's file name as a path under the store's root."""
        return f"{self.folder}/{file}"

    def referenced(self, manifest: GenerationManifest) -> set[str]:
        """Every path a generation needs, its manifest included."""
        files = {self.path(file) for segment in manifest.segments for file in segment.hashes()}
        return files | {self.versions.path(manifest.version)}
