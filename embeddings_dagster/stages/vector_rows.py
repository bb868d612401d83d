"""Rows of an embeddings table, the same whatever was encoded."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embeddings_dagster.engines import Engine
from embeddings_dagster.ids import Key
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.carry_out import Made, Row
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.store import Chain, Manifest

Wanted = Mapping[Key, str]


@dataclass(frozen=True)
class BatchInputs:
    """What of one batch is encoded, by which model and where: `wanted` has each key with the hash of its input, `rgb`
    is the version of `upstream` that they are told from."""

    context: StageContext
    model: ModelSettings
    engine: Engine
    upstream: Chain
    rgb: Manifest
    wanted: Wanted

    def encoded(self, todo: Collection[Key]) -> Iterator[Made]:
        """Encode these; whole images, in the order of the batch."""
        raise NotImplementedError


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
