"""The offline demo: the sample's pictures, the twenty questions put to them, and a place of its own to do it in."""

from embeddings_dagster.demo.place import IMAGE_QUERY, SOURCE, prepare
from embeddings_dagster.demo.sample import Query, Sample, find_sample
from embeddings_dagster.demo.scoring import FIRST, NEEDED, Answer, answer, found

__all__ = [
    "FIRST",
    "IMAGE_QUERY",
    "NEEDED",
    "SOURCE",
    "Answer",
    "Query",
    "Sample",
    "answer",
    "find_sample",
    "found",
    "prepare",
]
