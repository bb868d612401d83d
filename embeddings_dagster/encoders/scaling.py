"""The geometry of image processors: to what size a picture is scaled, and what is cut out of it; by Pillow, or fast.

By Pillow the pixels are to the bit those that the processors of transformers get from it. Fast is torch's resampling of
8-bit pixels: the same filters in a quarter of the time. On photos it is within one level of Pillow's, but for one value
in a million, which is two levels off.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from embeddings_dagster.encoders.runtime import runtime

Size = tuple[int, int]  # (width, height)
Levels = npt.NDArray[np.uint8]  # (height, width, 3)

FAST_FILTERS = {int(Image.Resampling.BILINEAR): "bilinear", int(Image.Resampling.BICUBIC): "bicubic"}


@dataclass(frozen=True)
class Scaling:
    """A picture is scaled, by a filter of Pillow's, until its short side is `short_edge`, or to the `exact` size, or
    not at all; then a `cut` of that size is taken from its middle, if there is one, with black where it is too small.
    """

    resample: int
    short_edge: int | None = None
    exact: Size | None = None
    cut: Size | None = None

    def scaled_size(self, size: Size) -> Size:
        """What a picture of `size` is scaled to; the long side is rounded down, as transformers does."""
        if self.exact is not None:
            return self.exact
        if self.short_edge is None:
            return size
        width, height = size
        if width <= height:
            return self.short_edge, int(self.short_edge * height / width)
        return int(self.short_edge * width / height), self.short_edge

    @property
    def enough(self) -> int:
        """A picture may be halved before it is scaled while its short side stays that long; 0: never."""
        smooth = self.resample != Image.Resampling.NEAREST
        return 2 * (self.short_edge or max(self.exact or (0,))) if smooth else 0

    def by_pillow(self, image: Image.Image) -> Levels:
        """An RGB picture, scaled and cut.

        All of it is scaled, what the cut drops too: Pillow chooses by the sizes which axis it scales first, and the
        pixels show it.
        """
        scaled = self.scaled_size(image.size)
        if scaled != image.size:
            image = image.resize(scaled, self.resample)
        if self.cut not in (None, scaled):
            image = image.crop(self._box(scaled))
        return np.asarray(image)

    def by_torch(self, image: Image.Image) -> Levels:
        """The same, fast; for the filters in `FAST_FILTERS`. It stays within the calling thread."""
        torch = runtime().torch
        width, height = self.scaled_size(image.size)
        levels = np.asarray(image)
        if (width, height) != image.size:
            # Pillow's pixels without a copy: `from_numpy` would warn, on stderr, that nothing may be written to them.
            pixels = torch.from_dlpack(levels).permute(2, 0, 1).unsqueeze(0)
            pixels = torch.nn.functional.interpolate(
                pixels, size=(height, width), mode=FAST_FILTERS[self.resample], antialias=True
            )
            levels = pixels[0].permute(1, 2, 0).numpy()
        left, top, right, bottom = self._box((width, height))
        if left < 0 or top < 0:
            return np.asarray(Image.fromarray(levels).crop((left, top, right, bottom)))
        return np.ascontiguousarray(levels[top:bottom, left:right])

    def _box(self, size: Size) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of what is kept of a scaled picture; outside of it where that is too small."""
        across, down = self.cut or size
        left, top = (size[0] - across) // 2, (size[1] - down) // 2
        return left, top, left + across, top + down
