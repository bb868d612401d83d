"""The version chain of one index: its generations, and what each of them needs."""

from embeddings_dagster.index.manifest import GenerationManifest
from embeddings_dagster.store import Store
from embeddings_dagster.store.generations import GenerationChain


class Generations(GenerationChain[GenerationManifest]):
    """All generations of the index of one model's fingerprint."""

    def __init__(self, store: Store, model: str, fp12: str) -> None:
        self.model = model
        self.fp12 = fp12
        what, see = f"index of {model} ({fp12})", "; see `embeddings index list`"
        super().__init__(store, f"indexes/{model}/{fp12}", what, GenerationManifest.from_document, see)

    def files(self, manifest: GenerationManifest) -> set[str]:
        """The path of every file that a generation needs."""
        return {self.path(file) for segment in manifest.segments for file in segment.hashes()}
