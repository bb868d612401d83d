"""Models of OpenVINO for tests: what torch says of the same pixels, and a way to open a backend as `load` does."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from embeddings_dagster.encoders.backends import open_openvino
from embeddings_dagster.encoders.base import Backend, Pixels, Vectors
from embeddings_dagster.encoders.features import image_features
from embeddings_dagster.encoders.files import locate
from embeddings_dagster.encoders.identity import identity_of, remembered_sha256
from embeddings_dagster.encoders.loading import load_network
from embeddings_dagster.encoders.openvino_model import as_input
from embeddings_dagster.encoders.preprocess import Preprocessor
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders import tiny


def prepared(model: ModelSettings, count: int = 5) -> Pixels:
    """Pixels of pictures 0, 1, … as the model's preprocessor makes them."""
    preprocessor = Preprocessor(locate(model).folder)
    return np.stack([preprocessor(tiny.picture(seed)) for seed in range(count)])


def by_torch(model: ModelSettings, pixels: Pixels) -> Vectors:
    """Features (n, D) of those pixels in float32, from the network as transformers loads it."""
    import torch

    files = locate(model)
    network = load_network(model, files)
    with torch.inference_mode():
        found: Vectors = image_features(network)(
            torch.from_numpy(as_input(pixels, Preprocessor(files.folder).table))
        ).numpy()
    return found


def open_backend(
    model: ModelSettings, cache: Path | None = None, *, network: Callable[[], Any] | None = None, **changes: Any
) -> Backend:
    """The backend of `model` with those settings changed; `network` in place of reading its weights."""
    model = model.model_copy(update={"backend": "openvino", **changes})
    files = locate(model)
    identity = identity_of(model, files, remembered_sha256)
    network = network or partial(load_network, model, files)
    return open_openvino(model, identity, network, Preprocessor(files.folder), cache)
