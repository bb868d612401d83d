"""Writes a segment whose index is a graph, tuned on rows that are left out of it at first.

The vectors are written first and read from there: in memory are the graph, with its vectors in float16, and a chunk.
Vectors that are repeated are in it once; see `copies`.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from embeddings_dagster.index.copies import Copies
from embeddings_dagster.index.graph import CHUNK, Graph, Tick
from embeddings_dagster.index.library import library
from embeddings_dagster.index.manifest import FLAT, HNSW, SegmentEntry
from embeddings_dagster.index.recall import SegmentRecall
from embeddings_dagster.index.scores import Labels, Vector, Vectors
from embeddings_dagster.index.segment_writer import COPIES, INDEX, VECTORS, Block, write_copies, write_faiss, write_rows
from embeddings_dagster.store import Store
from embeddings_dagster.store.local_file import local_file
from embeddings_dagster.store.steps import reached

HELD_OUT = 256  # rows, and no more than a tenth of them


class Trial(NamedTuple):
    """A graph of distinct vectors, without those held out. `graph.order[place]` says which vector is at a place."""

    graph: Graph
    vectors: Vectors
    held_out: Labels


def held_out_of(name: str, count: int) -> Labels:
    """Which of a segment's distinct vectors are left out at first: drawn by its name, ascending."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    return np.sort(np.random.default_rng(seed).choice(count, min(HELD_OUT, count // 10), replace=False))


def write_graph_segment(
    store: Store,
    folder: str,
    name: str,
    dimension: int,
    rows: int,
    blocks: Iterable[Block],
    *,
    tick: Tick,
    tune: Callable[[Trial], SegmentRecall | None],
) -> SegmentEntry:
    """As `write_segment`, but along a graph where `tune` finds a way to keep the promise, and flat where it finds none.

    `tick` is called before each chunk of rows with the number of those that are in the graph; it may raise, and so may
    `tune`.
    """
    parts = write_rows(store.files, folder, name, dimension, rows, blocks)
    path = local_file(store, f"{folder}/segments/{name}/{VECTORS}", parts[VECTORS].sha256)
    vectors = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    copies = Copies.among(_chunks(vectors, tick))
    distinct = copies.distinct(vectors)
    trial = Trial(Graph(distinct, held := held_out_of(name, len(distinct))), distinct, held)
    trial.graph.fill(tick)
    recall = tune(trial)
    if recall is not None:
        trial.graph.complete()
    index = trial.graph.index if recall is not None else _flat(distinct)
    if len(copies):
        parts[COPIES] = write_copies(store.files, folder, name, copies)
    parts[INDEX] = write_faiss(store.files, folder, name, index)
    reached("segment:written")
    return SegmentEntry(name, FLAT if recall is None else HNSW, rows, parts, recall=recall)


def _chunks(vectors: Vector, tick: Tick) -> Iterator[Vector]:
    for start in range(0, len(vectors), CHUNK):
        tick(0)
        yield vectors[start : start + CHUNK]


def _flat(vectors: Vectors) -> object:
    index = library().IndexFlatIP(vectors.shape[1])
    for start in range(0, len(vectors), CHUNK):
        index.add(np.ascontiguousarray(vectors[start : start + CHUNK]))
    return index
