"""What tests of indexes share: vectors that follow from a name, segments and generations made of them."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embeddings_dagster.ids import Key
from embeddings_dagster.index import (
    Block,
    Consumed,
    GenerationManifest,
    Generations,
    SegmentEntry,
    write_deletions,
    write_segment,
)
from embeddings_dagster.store import Store

DIMENSION = 8
FP12 = "0123456789ab"
Vector = npt.NDArray[np.float32]


def vector(name: str) -> Vector:
    """A vector of norm 1 that follows from `name` alone."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    values = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    unit: Vector = values / np.linalg.norm(values)
    return unit


def block(keys: Sequence[Key], batch: str = "art__0001") -> Block:
    """Rows whose vectors follow from `<image>/<region>`."""
    names = [f"{key.image_id}/{key.region}" for key in keys]
    rows = pa.RecordBatch.from_pydict(
        {
            "image_id": pa.array([key.image_id for key in keys], pa.string()),
            "region": pa.array([key.region for key in keys], pa.int16()),
            "input_hash": pa.array(names, pa.string()),
        }
    )
    return Block(rows, batch, np.array([vector(name) for name in names], np.float32).reshape(-1, DIMENSION))


def segment(generations: Generations, keys: Sequence[Key], batch: str = "art__0001") -> SegmentEntry:
    """A new segment of these rows."""
    files, name = generations.store.files, uuid.uuid4().hex
    return write_segment(files, generations.folder, name, DIMENSION, len(keys), [block(keys, batch)])


def without(generations: Generations, entry: SegmentEntry, *labels: int) -> SegmentEntry:
    """The segment less some rows."""
    deletions = write_deletions(generations.store.files, generations.folder, np.array(labels, np.int64))
    return SegmentEntry(entry.uuid, entry.kind, entry.rows, entry.files, deletions)


def manifest(*segments: SegmentEntry, consumed: Mapping[str, Consumed] | None = None) -> GenerationManifest:
    """A generation that is not committed yet."""
    return GenerationManifest(0, None, datetime.now(UTC), "run", FP12 + "f" * 52, DIMENSION, segments, consumed or {})


def generations_of(store: Store) -> Generations:
    return Generations(store, "toy", FP12)


def pictures(count: int, prefix: str = "art:p") -> list[Key]:
    return [Key(f"{prefix}{number:03}.png", 0) for number in range(count)]
