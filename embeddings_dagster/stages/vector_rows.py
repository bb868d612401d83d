"""Rows of an embeddings table, the same whatever was encoded."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from embeddings_dagster.ids import Key
from embeddings_dagster.stages.carry_out import Row

Wanted = Mapping[Key, str]


def vector_row(key: Key, input_hash: str, vector: npt.NDArray[np.float32], precision: str, run_id: str) -> Row:
    """One row: `vector` (D,) float32 as it is, with its L2 norm beside it."""
    return {
        "image_id": key.image_id,
        "region": key.region,
        "input_hash": input_hash,
        "embedding": vector,
        "norm": float(np.linalg.norm(vector)),
        "precision": precision,
        "run_id": run_id,
    }
