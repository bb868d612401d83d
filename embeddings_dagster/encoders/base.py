"""What an encoder is and what it is given: an image with all its regions and texts is one unit, never split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from embeddings_dagster.errors import ItemError
from embeddings_dagster.images.regions import Box

if TYPE_CHECKING:
    from embeddings_dagster.encoders.gate import Gate

Vectors = npt.NDArray[np.float32]

# Pictures ready for a model, (n, height, width, 3) uint8, whose values go through the model's table of brightness; or
# (n, 3, height, width) float32, which go into it as they are.
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


class Decode(Protocol):
    """Bytes to an upright RGB picture. With `at_least`, its short side may be reduced while it stays that long."""

    def __call__(self, data: bytes, *, at_least: int = 0) -> Image.Image: ...


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
class Prepared:
    """A unit without its bytes, and its pixels, one picture for each of its regions, in their order.

    `size` is the width and height of the picture that was decoded, which the regions' boxes lie in.
    """

    unit: Unit
    pixels: Pixels
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Encoded:
    """What became of a unit: `vectors` (regions, D) in the order of its regions, or the error that it failed with.

    `unit` comes back without its bytes, so that results may be kept, and without the regions that are `left_out`, each
    with its reason. `precision` is what the vectors were computed in.
    """

    unit: Unit
    vectors: Vectors | None = None
    error: ItemError | None = None
    precision: str = "fp32"
    left_out: Mapping[int, ItemError] = field(default_factory=dict)


class Encoder(Protocol):
    """A loaded model. All methods may be called from several threads.

    `whole_image`: the vectors of an image's regions depend on each other. `normalised`: vectors have L2 norm 1.
    `image_size` is the (height, width) of prepared pixels. `enough`: a picture may be reduced before it is prepared
    while its short side stays that long; 0: never. `max_regions`: of an image, None for any number. `streams`: how many
    threads may call `encode` side by side to good effect. `gate`: watches a precision other than float32.
    """

    @property
    def name(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def image_size(self) -> tuple[int, int]: ...
    @property
    def enough(self) -> int: ...
    @property
    def whole_image(self) -> bool: ...
    @property
    def max_regions(self) -> int | None: ...
    @property
    def normalised(self) -> bool: ...
    @property
    def has_text(self) -> bool: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def streams(self) -> int: ...
    @property
    def gate(self) -> "Gate | None": ...

    def prepare(self, image: Image.Image, unit: Unit) -> Pixels:
        """Pixels of a decoded RGB picture, one picture for each region of `unit`.

        Raises:
            EmptyRegion: a box lies outside the picture.
        """

    def begin_stream(self) -> None:
        """To be called once in each of the threads that call `encode` side by side, before they do."""

    def encode(self, images: Sequence[Prepared], batch_size: int) -> Vectors:
        """Vectors (n, D) float32 of all regions of `images`, in order, at most `batch_size` of them through the model
        at once, but for the regions of one image that belong together."""

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Vectors (n, D) float32 of norm 1; what is too long is cut, as a query is.

        Raises:
            ModelError: the model has no text side (`has_text` is false).
        """

    def encode_long_text(self, texts: Sequence[str]) -> Vectors:
        """Vectors (n, D) float32 of norm 1 of whole texts: those that are too long are encoded in chunks.

        Raises:
            ModelError: as `encode_text`.
        """

    def close(self) -> None:
        """Free the model's memory; a closed encoder encodes no more."""


class Backend(Protocol):
    """What computes the features of pictures: a network on a device, or one compiled for it.

    `precision` is what it computes in, never `auto`. `streams` as `Encoder.streams`.
    """

    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def streams(self) -> int: ...

    def begin_stream(self) -> None:
        """See `Encoder.begin_stream`."""

    def features(self, pixels: Pixels) -> Vectors:
        """Features (n, D) float32 of n pictures, as the network gives them: not normalised.

        May be called from several threads. Memory that does not suffice is raised as torch raises it, or as
        MemoryError.
        """

    def close(self) -> None:
        """Free the memory."""
