"""What CLIP and DINOv2 have in common: a torch network on a device, pixels in, vectors of norm 1 out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from embeddings_dagster.encoders.base import Unit, Vectors
from embeddings_dagster.encoders.preprocess import Preprocessor
from embeddings_dagster.encoders.runtime import runtime
from embeddings_dagster.errors import ModelError
from embeddings_dagster.images.regions import crop


class NetworkEncoder:
    """An encoder of single regions; a kind of model says what its features are."""

    whole_image = False
    normalised = True
    has_text = False

    def __init__(self, name: str, network: Any, preprocessor: Preprocessor, *, device: str, dimension: int) -> None:
        self.name = name
        self.dimension = dimension
        self.image_size = preprocessor.size
        self.device = device
        self._preprocess = preprocessor
        self._torch = runtime().torch
        self._network: Any = network.to(device).eval()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._network is None

    def prepare(self, image: Image.Image, unit: Unit) -> Vectors:
        """See `Encoder.prepare`."""
        return np.stack([self._preprocess(crop(image, region.box)) for region in unit.regions])

    def encode(self, pixels: Vectors, batch_size: int) -> Vectors:
        """See `Encoder.encode`."""
        network, torch = self._open(), self._torch
        out = np.empty((len(pixels), self.dimension), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(pixels), batch_size):
                batch = torch.from_numpy(np.ascontiguousarray(pixels[start : start + batch_size]))
                features = self._image_features(network, self._moved(batch))
                out[start : start + batch_size] = self._unit_length(features)
        return out

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder.encode_text`."""
        raise ModelError(f"the model {self.name!r} knows pictures only, no text; ask a model of kind clip")

    def close(self) -> None:
        """See `Encoder.close`."""
        self._network = None
        if self.device.startswith("cuda"):
            self._torch.cuda.empty_cache()

    def _image_features(self, network: Any, pixels: Any) -> Any:
        """Features (n, D), a tensor, of pixels (n, 3, height, width), a tensor on the device."""
        raise NotImplementedError

    def _open(self) -> Any:
        if self._network is None:
            raise ModelError(f"the model {self.name!r} has been closed; load it again")
        return self._network

    def _moved(self, tensor: Any) -> Any:
        if self.device.startswith("cuda"):
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _unit_length(self, features: Any) -> Vectors:
        """Rows at length 1; one of length 0 stays so, for the pipeline to refuse."""
        vectors: Vectors = self._torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
        return vectors
