"""Indexes: immutable segments of vectors, generations that name them, and search over one generation.

Nothing here knows how an index is kept in step with the embeddings; that is `stages/index.py`.
"""

from embeddings_dagster.index.generation import Generation
from embeddings_dagster.index.generations import Generations
from embeddings_dagster.index.graph_writer import Trial, write_graph_segment
from embeddings_dagster.index.manifest import FLAT, HNSW, DeletionsEntry, FileEntry, GenerationManifest, SegmentEntry
from embeddings_dagster.index.recall import KindRecall, SegmentRecall
from embeddings_dagster.index.segment import Hit, Segment, read_deletions, read_rows
from embeddings_dagster.index.segment_writer import Block, discard_segment, write_deletions, write_segment
from embeddings_dagster.index.selection import Selection
from embeddings_dagster.store import Consumed

__all__ = [
    "Block",
    "Consumed",
    "DeletionsEntry",
    "FLAT",
    "FileEntry",
    "Generation",
    "GenerationManifest",
    "Generations",
    "HNSW",
    "Hit",
    "KindRecall",
    "Segment",
    "SegmentEntry",
    "SegmentRecall",
    "Selection",
    "Trial",
    "discard_segment",
    "read_deletions",
    "read_rows",
    "write_deletions",
    "write_graph_segment",
    "write_segment",
]
