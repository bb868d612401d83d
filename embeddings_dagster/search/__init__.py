"""Search: texts, pictures, known images and vectors in; the images that come closest out, each state whole."""

from embeddings_dagster.search.queries import IdQuery, ImageQuery, TextQuery, VectorQuery
from embeddings_dagster.search.question import Question, Term
from embeddings_dagster.search.results import Results, SearchHit
from embeddings_dagster.search.service import SearchService

__all__ = [
    "IdQuery",
    "ImageQuery",
    "Question",
    "Results",
    "SearchHit",
    "SearchService",
    "Term",
    "TextQuery",
    "VectorQuery",
]
