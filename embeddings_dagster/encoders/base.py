"""What an encoder is and what it is given: an image with all its regions and texts is one unit, never split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from embeddings_dagster.errors import ItemError
from embeddings_dagster.images.regions import Box

Vectors = npt.NDArray[np.float32]
Decode = Callable[[bytes], Image.Image]


@dataclass(frozen=True)
class Region:
    """A part of an image that gets a vector: `region` 0 with no box is the whole of it."""

    region: int
    box: Box | None
    text: str | None
    input_hash: str


@dataclass(frozen=True)
class Unit:
    """An image with all its regions; `data` is what `rgb_images` holds, read by the `Decode` that goes with it."""

    image_id: str
    data: bytes
    regions: tuple[Region, ...]


@dataclass(frozen=True)
class Encoded:
    """What became of a unit: `vectors` (regions, D) in the order of its regions, or the error that it failed with.

    `unit` comes back without its bytes, so that results may be kept.
    """

    unit: Unit
    vectors: Vectors | None = None
    error: ItemError | None = None


class Encoder(Protocol):
    """A loaded model. All methods may be called from several threads.

    `image_size` is the (height, width) of prepared pixels. A `whole_image` encoder gets the regions of exactly one
    image in each call of `encode`, since its vectors depend on each other. `normalised`: vectors have L2 norm 1.
    """

    @property
    def name(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def image_size(self) -> tuple[int, int]: ...
    @property
    def whole_image(self) -> bool: ...
    @property
    def normalised(self) -> bool: ...
    @property
    def has_text(self) -> bool: ...

    def prepare(self, image: Image.Image, unit: Unit) -> Vectors:
        """Pixels (regions, 3, height, width) float32 of a decoded RGB picture, one for each region of `unit`.

        Raises:
            EmptyRegion: a box lies outside the picture.
        """

    def encode(self, pixels: Vectors, batch_size: int) -> Vectors:
        """Vectors (n, D) float32 of pixels (n, 3, height, width), at most `batch_size` through the model at once."""

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Vectors (n, D) float32 of norm 1; what is too long is cut.

        Raises:
            ModelError: the model has no text side (`has_text` is false).
        """

    def close(self) -> None:
        """Free the model's memory; a closed encoder encodes no more."""
