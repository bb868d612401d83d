"""The offline demo: the sample's collections, the twenty questions put to them, and a place of its own to do it in."""

from embeddings_dagster.demo.place import IMAGE_QUERY, prepare
from embeddings_dagster.demo.sample import Query, Sample, find_sample
from embeddings_dagster.demo.scoring import FIRST, NEEDED, Answer, answer, found
from embeddings_dagster.demo.shop import open_shop

__all__ = [
    "FIRST",
    "IMAGE_QUERY",
    "NEEDED",
    "Answer",
    "Query",
    "Sample",
    "answer",
    "find_sample",
    "found",
    "open_shop",
    "prepare",
]
