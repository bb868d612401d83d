"""Search: a text, a picture, a known image or a vector in; the images of one index generation that come closest out."""

from embeddings_dagster.search.results import Results, SearchHit
from embeddings_dagster.search.service import SearchService

__all__ = ["Results", "SearchHit", "SearchService"]
