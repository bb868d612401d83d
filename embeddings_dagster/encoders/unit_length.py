"""L2 normalisation, as every model of ours whose convention asks for it gets it."""

import numpy as np

from embeddings_dagster.encoders.base import Vectors

TINY = 1e-12  # as torch.nn.functional.normalize has it


def unit_length(features: Vectors) -> Vectors:
    """Rows (n, D) float32 at L2 norm 1; one of length 0 stays so, for the pipeline to refuse."""
    lengths = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    scaled: Vectors = (features / np.maximum(lengths, TINY)[:, np.newaxis]).astype(np.float32)
    return scaled
