"""The offline demo: the sample's collections, the questions put to them, and a place of its own to do it in."""

from embeddings_dagster.demo.asking import answer_searches
from embeddings_dagster.demo.place import IMAGE_QUERY, prepare
from embeddings_dagster.demo.sample import Query, Sample, find_sample
from embeddings_dagster.demo.scoring import FIRST, NEEDED, Answer, answer, found
from embeddings_dagster.demo.searches import Judged, NamedSearch, judge, read_searches, read_words, relevant
from embeddings_dagster.demo.shop import open_shop

__all__ = [
    "FIRST",
    "IMAGE_QUERY",
    "NEEDED",
    "Answer",
    "Judged",
    "NamedSearch",
    "Query",
    "Sample",
    "answer",
    "answer_searches",
    "find_sample",
    "found",
    "judge",
    "open_shop",
    "prepare",
    "read_searches",
    "read_words",
    "relevant",
]
