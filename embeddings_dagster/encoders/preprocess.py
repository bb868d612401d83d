"""From an RGB picture to a model's pixels: exactly what the model's own processor makes of it, by way of Pillow.

Where torchvision is installed transformers would use that instead, and give other pixels; here it never does.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from embeddings_dagster.encoders.base import Vectors
from embeddings_dagster.encoders.runtime import runtime
from embeddings_dagster.errors import ModelError

# A picture is scaled until its short side fits, then its middle is taken. One of 2 x 60,000 pixels would become one of
# 224 x 6,720,000 on the way, so of anything longer than this many squares only the middle is scaled.
LONGEST_SQUARES = 32


class Preprocessor:
    """A model's image processor. `size` is the (height, width) that each picture ends up with."""

    def __init__(self, folder: Path) -> None:
        """Read the processor of the model in `folder`.

        Raises:
            ModelError: pictures of unlike shapes end up with unlike sizes, so they cannot share a batch.
        """
        auto = runtime().transformers.AutoImageProcessor
        self._processor: Any = auto.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
        self._takes_middle = _takes_middle(self._processor)
        wide, high = (self(Image.new("RGB", size)).shape for size in ((9, 5), (5, 9)))
        if wide != high:
            raise ModelError(
                f"the processor settings in {str(folder)!r} give pictures of unlike sizes, {wide} and {high}; "
                "set do_center_crop and crop_size in its preprocessor_config.json"
            )
        self.size: tuple[int, int] = wide[1], wide[2]

    def __call__(self, image: Image.Image) -> Vectors:
        """Pixels (3, height, width) float32 of an RGB picture of any size."""
        if self._takes_middle:
            image = middle(image)
        pixels = self._processor(images=image, return_tensors="np")["pixel_values"][0]
        return np.asarray(pixels, dtype=np.float32)


def _takes_middle(processor: Any) -> bool:
    """Whether the short side is scaled to fit and what is left over at both ends of the long one is cut off."""
    scales = processor.do_resize and processor.size.get("shortest_edge")
    return bool(scales and processor.do_center_crop)


def middle(image: Image.Image) -> Image.Image:
    """`image`, or, of one longer than `LONGEST_SQUARES` times its short side, that much of its middle."""
    short, long = sorted(image.size)
    kept = short * LONGEST_SQUARES
    if long <= kept:
        return image
    kept += (long - kept) % 2  # as much off either end, so that the middle stays the middle
    start = (long - kept) // 2
    if image.width == long:
        return image.crop((start, 0, start + kept, image.height))
    return image.crop((0, start, image.width, start + kept))
