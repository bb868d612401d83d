"""Which backend computes a model's pictures: torch on a device, or OpenVINO on the CPU, in the precision asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from embeddings_dagster.encoders.base import Backend
from embeddings_dagster.encoders.features import image_features
from embeddings_dagster.encoders.identity import ModelIdentity
from embeddings_dagster.encoders.precision import resolve
from embeddings_dagster.encoders.preprocess import Preprocessor
from embeddings_dagster.settings_models import ModelSettings


def open_torch(model: ModelSettings, network: Any, preprocessor: Preprocessor, device: str) -> Backend:
    """A network on a device; in another precision than float32 it is converted in place."""
    from embeddings_dagster.encoders.class_token import class_token_only
    from embeddings_dagster.encoders.torch_backend import open_backend

    class_token_only(network)
    precision = resolve(model.precision, device, "torch")
    return open_backend(
        network,
        image_features(network),
        device=device,
        precision=precision,
        table=preprocessor.table,
        streams=model.streams,
    )


def open_openvino(
    model: ModelSettings,
    identity: ModelIdentity,
    network: Callable[[], Any],
    preprocessor: Preprocessor,
    cache: Path | None,
) -> Backend:
    """A network compiled for this CPU; `network` is called only where `cache` does not hold it converted already."""
    from embeddings_dagster.encoders.openvino_backend import open_backend

    return open_backend(model, identity, network, preprocessor, cache)
