"""Software-defined assets from a pile of pictures to a search that is right, fresh and fast."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embeddings_dagster.embedder import CLIPEmbedder, Embedder

__version__ = "0.1.0"
__all__ = ["CLIPEmbedder", "Embedder", "__version__"]


def __getattr__(name: str) -> object:
    """The embedders, imported when they are first asked for: most that import this package have no use for them."""
    if name in ("CLIPEmbedder", "Embedder"):
        from embeddings_dagster import embedder

        return getattr(embedder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
