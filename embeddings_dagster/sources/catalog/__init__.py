"""Tables of products or the like, whose rows name pictures by address. Loads an HTTP client: import it when needed."""

from embeddings_dagster.sources.catalog.opening import open_catalog
from embeddings_dagster.sources.catalog.source import CatalogSource

__all__ = ["CatalogSource", "open_catalog"]
