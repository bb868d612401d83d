"""Comic pages by their page specs: a page is an image, its panels are regions of it."""

from embeddings_dagster.sources.comics.source import ComicsSource

__all__ = ["ComicsSource"]
