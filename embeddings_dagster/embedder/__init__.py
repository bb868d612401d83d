"""Vectors of pictures and texts for applications, without a project: no store, no settings file, no Dagster.

torch and pydantic are imported when the first embedder is made or used, not by importing this.
"""

from embeddings_dagster.embedder.clip import CLIPEmbedder
from embeddings_dagster.embedder.embedder import Embedder
from embeddings_dagster.embedder.pictures import Source
from embeddings_dagster.embedder.results import Embedded, Failure, Vector
from embeddings_dagster.embedder.similarity import compute_similarity
from embeddings_dagster.images import Box, DecodeRules

__all__ = [
    "Box",
    "CLIPEmbedder",
    "DecodeRules",
    "Embedded",
    "Embedder",
    "Failure",
    "Source",
    "Vector",
    "compute_similarity",
]
