"""The benchmarks' clustered vectors at a size that builds in seconds, as a segment whose index is a graph."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa

from embeddings_dagster.index import Block, Generations, SegmentEntry, Trial, write_graph_segment
from embeddings_dagster.index.recall import SegmentRecall
from embeddings_dagster.index.tuning import tuned
from embeddings_dagster_tests.index.helpers import Vector

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
WIDE = 32  # dimensions


def index_vectors() -> ModuleType:
    """The benchmarks' generator, imported as they do."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import index_vectors as module

        return module
    finally:
        sys.path.remove(str(BENCHMARKS))


def blocks(vectors: Vector, size: int = 4096) -> list[Block]:
    """Rows named after their labels."""
    found = []
    for start in range(0, len(vectors), size):
        some = vectors[start : start + size]
        names = [f"art:{label:06}.png" for label in range(start, start + len(some))]
        columns = {"image_id": names, "region": pa.array([0] * len(some), pa.int16()), "input_hash": names}
        found.append(Block(pa.RecordBatch.from_pydict(columns), f"art__{start // size:04}", some))
    return found


def graph_segment(
    generations: Generations,
    vectors: Vector,
    *,
    texts: Vector | None = None,
    target: float = 0.95,
    name: str = "g" * 32,
    tick: Callable[[int], None] = lambda done: None,
) -> SegmentEntry:
    """A segment of these rows, tuned on those held out and on `texts`."""

    def tune(trial: Trial) -> SegmentRecall | None:
        nothing = np.empty((0, vectors.shape[1]), np.float32)
        queries = {"rows": trial.vectors[trial.held_out], "texts": nothing if texts is None else texts}
        return tuned(trial, queries, target, lambda: tick(-1))

    store, folder = generations.store, generations.folder
    return write_graph_segment(
        store, folder, name, vectors.shape[1], len(vectors), blocks(vectors), tick=tick, tune=tune
    )
