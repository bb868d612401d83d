"""Pictures fetched from the web into a local cache: each address is asked once, whatever is killed in between, and no
answer, however hostile, costs more than its own picture."""

from embeddings_dagster.sources.downloads.downloads import Downloads
from embeddings_dagster.sources.downloads.refresh import Refreshed

__all__ = ["Downloads", "Refreshed"]
