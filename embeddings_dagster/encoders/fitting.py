"""Pictures made to fit a network of one's own: by its settings, with Pillow's bicubic, or by its own function."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from embeddings_dagster.encoders.base import Pixels, Vectors
from embeddings_dagster.encoders.import_path import failure, load_object
from embeddings_dagster.encoders.preprocess import middle
from embeddings_dagster.encoders.scaling import Levels, Scaling
from embeddings_dagster.encoders.source_code import find_file, parse
from embeddings_dagster.errors import ModelError, PrepareFailed
from embeddings_dagster.settings_models import NetworkSettings

FILTER = int(Image.Resampling.BICUBIC)
TRIALS = ((9, 5), (5, 9))  # pictures of unlike shapes, in pixels, that have to end up alike


class Fitting:
    """RGB pictures to `size` (height, width): uint8 (height, width, 3), whose values stand for those of `table`.

    `enough`: a picture may be reduced before while its short side stays that long; 0: never.
    """

    def __init__(self, network: NetworkSettings, *, fast: bool = False) -> None:
        """`fast` allows for another rounding in scaling, and for pictures that are reduced before."""
        self._resize, self._fast = network.resize, fast
        self._side = side = network.image_size
        squash, crop = Scaling(FILTER, exact=(side, side)), Scaling(FILTER, short_edge=side, cut=(side, side))
        self._scaling = crop if network.resize == "crop" else squash
        self.size = (side, side)
        self.table: Vectors | None = brightness(network.mean, network.std)
        self.enough = squash.enough if fast else 0

    def __call__(self, image: Image.Image) -> Pixels:
        """Pixels of an RGB picture of any size."""
        if self._resize == "pad":
            return self._padded(image)
        return self._scaled(middle(image) if self._resize == "crop" else image, self._scaling)

    def _padded(self, image: Image.Image) -> Pixels:
        """All of it, its long side made to fit, in the middle of black."""
        side, long = self._side, max(image.size)
        width, height = (max(1, round(side * each / long)) for each in image.size)
        left, top = (side - width) // 2, (side - height) // 2
        padded = np.zeros((side, side, 3), dtype=np.uint8)
        padded[top : top + height, left : left + width] = self._scaled(image, Scaling(FILTER, exact=(width, height)))
        return padded

    def _scaled(self, image: Image.Image, scaling: Scaling) -> Levels:
        return scaling.by_torch(image) if self._fast else scaling.by_pillow(image)


class OwnFitting:
    """RGB pictures to float32 (3, height, width) by the user's own function, or an object of the user's own class."""

    table: Vectors | None = None
    enough = 0

    def __init__(self, written: str) -> None:
        """Raises:
        ModelError: there is no such function, it fails, or what it gives is not what a network is given.
        """
        near = find_file(parse(written))
        found = load_object(written)
        try:
            self._own: Callable[[Image.Image], Any] = found() if isinstance(found, type) else found
            given = [self._own(Image.new("RGB", size)) for size in TRIALS]
        except Exception as error:
            raise ModelError(f"`network.preprocess` {written!r} fails ({failure(error, near)})") from error
        shapes = [_shape(each) for each in given]
        shape = shapes[0]
        if shapes[1] != shape or len(shape) != 3 or shape[0] != 3 or 0 in shape:
            raise ModelError(
                f"`network.preprocess` {written!r} gives {shapes[0]} for a wide picture and {shapes[1]} for a high "
                "one; it is to give numbers of one shape (3, height, width) for pictures of any size"
            )
        self._written, self._shape = written, shape
        self.size = (shape[1], shape[2])

    def __call__(self, image: Image.Image) -> Pixels:
        """Pixels of an RGB picture of any size.

        Raises:
            PrepareFailed: those of this picture are of another shape than those of others.
        """
        given = self._own(image)
        if _shape(given) != self._shape:
            raise PrepareFailed(
                f"`network.preprocess` {self._written!r} gives {_shape(given)} for this picture of {image.width} x "
                f"{image.height} pixels and {self._shape} for others; correct it"
            )
        pixels: Pixels = np.ascontiguousarray(given, dtype=np.float32)
        return pixels


def fitting(network: NetworkSettings, *, fast: bool = False) -> Fitting | OwnFitting:
    """What makes pictures ready for a network; raises as `OwnFitting` does."""
    return Fitting(network, fast=fast) if network.preprocess is None else OwnFitting(network.preprocess)


def brightness(mean: tuple[float, float, float], std: tuple[float, float, float]) -> Vectors:
    """What each of the 256 values becomes in each colour, (3, 256) float32: bit for bit torchvision's `ToTensor` and
    `Normalize`, which divide by 255, take off `mean` and divide by `std` in float32."""
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    centre, spread = (np.array(each, dtype=np.float32)[:, np.newaxis] for each in (mean, std))
    return (values - centre) / spread


def _shape(given: Any) -> tuple[int, ...]:
    return tuple(int(each) for each in getattr(given, "shape", ()))
