"""A network's vision side as an OpenVINO model: converted once, then read from the cache in a tenth of the time.

The cache holds derived files only. One that is damaged, or made by other releases, is made anew; nothing depends on
its being there.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from embeddings_dagster.encoders.base import Pixels, Vectors
from embeddings_dagster.encoders.features import image_features
from embeddings_dagster.encoders.identity import ModelIdentity
from embeddings_dagster.encoders.kept_model import MODEL, is_whole, keep
from embeddings_dagster.encoders.openvino_runtime import openvino, without_tracer_warnings
from embeddings_dagster.encoders.preprocess import apply_table
from embeddings_dagster.encoders.runtime import LOCK, runtime
from embeddings_dagster.errors import ModelUnavailable
from embeddings_dagster.settings_models import ModelSettings

CONVERSION = "class-token-1"  # raise it when the code below makes another model of the same network
CHANNELS = 3
TRACED = 2  # pictures in the batch that is traced: a single one would become a constant

Network = Callable[[], Any]


def vision_model(identity: ModelIdentity, network: Network, size: tuple[int, int], cache: Path | None) -> Any:
    """The vision side of a model, pixels (n, 3, height, width) float32 to features (n, D), as `openvino.Model`.

    `network` loads it in torch, where it is not in `cache`; it is not kept. `size`: (height, width) of the pixels.

    Raises:
        MissingExtra: OpenVINO is not installed.
        ModelError: as `network` does.
    """
    library = openvino("backend openvino")
    if cache is None:
        return convert(network(), size)
    made_of = _made_of(identity, size)
    name = _digest_of(made_of)
    folder = cache / "openvino" / name
    with LOCK:
        if not is_whole(folder):
            keep(folder.parent, partial(_write, network, size), made_of, name=name)
    return library.Core().read_model(folder / MODEL) if is_whole(folder) else convert(network(), size)


def calibrated_folder(cache: Path) -> Path:
    """Where in the project's cache quantised models lie, each in a folder named after its digest."""
    return cache / "int8"


def quantised_model(model: ModelSettings, cache: Path | None) -> Any:
    """The quantised model that `model.calibrated` names, as `openvino.Model`.

    Raises:
        ModelUnavailable: nothing was calibrated yet, or the quantised model is not in `cache`.
    """
    if model.calibrated is None:
        raise ModelUnavailable(
            f"the model {model.model!r} is to compute in int8 and is not calibrated yet; a run does it, on its pictures"
        )
    library = openvino("precision int8")
    folder = calibrated_folder(cache) / model.calibrated if cache is not None else None
    if folder is None or not is_whole(folder, model.calibrated):
        raise ModelUnavailable(
            f"the int8 form of the model {model.model!r} that was calibrated as {model.calibrated[:12]} is not in the "
            "cache of this machine; run again: it is fetched from the project's data"
        )
    return library.Core().read_model(folder / MODEL)


def convert(network: Any, size: tuple[int, int]) -> Any:
    """An `openvino.Model` of a torch network's vision side, for batches of any size."""
    import torch

    from embeddings_dagster.encoders.class_token import class_token_only

    library = openvino("backend openvino")
    class_token_only(network)

    class Vision(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: Any) -> Any:
            return image_features(self.network)(pixels)

    shape = [-1, CHANNELS, *size]
    example = torch.zeros(TRACED, CHANNELS, *size)
    with LOCK, torch.no_grad(), without_tracer_warnings():
        return library.convert_model(Vision().eval(), example_input=example, input=[library.PartialShape(shape)])


def as_input(pixels: Pixels, table: Vectors | None) -> Vectors:
    """Pixels as the model takes them, float32 (n, 3, height, width); `table` (3, 256) is what 8-bit ones stand for."""
    if pixels.dtype == np.float32:
        return np.ascontiguousarray(pixels, dtype=np.float32)
    assert table is not None
    return apply_table(pixels.astype(np.uint8, copy=False), table)


def save(model: Any, folder: Path) -> None:
    """Write `model.xml` and `model.bin` of a model, to the bit as it computes."""
    openvino("backend openvino").save_model(model, folder / MODEL, compress_to_fp16=False)


def _write(network: Network, size: tuple[int, int], folder: Path) -> None:
    save(convert(network(), size), folder)


def _made_of(identity: ModelIdentity, size: tuple[int, int]) -> Mapping[str, Any]:
    return {
        "conversion": CONVERSION,
        "openvino": openvino("backend openvino").get_version(),
        "torch": runtime().torch.__version__,
        "transformers": runtime().transformers.__version__,
        "weights": identity.details["weights"],
        "settings": identity.details["settings"],
        "kind": identity.details["kind"],
        "size": list(size),
    }


def _digest_of(made_of: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
