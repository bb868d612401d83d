"""From an RGB picture to a model's pixels: exactly what the model's own processor makes of it, by way of Pillow.

Where torchvision is installed transformers would use that instead, and give other pixels; here it never does. Most
processors scale, cut and look each brightness up, so that is done here with 8-bit pixels and a table, to the same bits
in less time; a processor that does anything else is asked itself.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from embeddings_dagster.encoders.base import Vectors
from embeddings_dagster.encoders.runtime import runtime
from embeddings_dagster.encoders.scaling import FAST_FILTERS, Levels, Scaling
from embeddings_dagster.errors import ModelError

# A picture is scaled until its short side fits, then its middle is taken. One of 2 x 60,000 pixels would become one of
# 224 x 6,720,000 on the way, so of anything longer than this many squares only the middle is scaled.
LONGEST_SQUARES = 32


class Preprocessor:
    """A model's image processor; may be called from several threads, and keeps to the thread that calls it.

    `size` is the (height, width) that each picture ends up with. `table` (3, 256) is the brightness that each level of
    each channel becomes; None: what is returned is float32 already. `enough`: a picture may be reduced before while its
    short side stays that long; 0: never.
    """

    def __init__(self, folder: Path, *, fast: bool = False) -> None:
        """Read the processor of the model in `folder`. `fast` allows for another rounding in scaling, and for
        pictures that are reduced before; a processor that is no scaling, cutting and looking up stays exact.

        Raises:
            ModelError: the processor makes no RGB pictures, or of pictures of unlike shapes ones of unlike sizes, so
                that they cannot share a batch.
        """
        auto = runtime().transformers.AutoImageProcessor
        self._processor: Any = auto.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
        self._takes_middle = _takes_middle(self._processor)
        self.size: tuple[int, int] = self._common_size(folder)
        scaling, table = _scaling(self._processor), _table(self._processor)
        known = scaling is not None and table is not None and self._is_reproduced(scaling, table)
        self._scaling: Scaling | None = scaling if known else None
        self.table: Vectors | None = table if known else None
        self.enough = scaling.enough if scaling is not None and known and fast else 0
        self._by_torch = fast and scaling is not None and scaling.resample in FAST_FILTERS

    def __call__(self, image: Image.Image) -> npt.NDArray[np.uint8] | Vectors:
        """Pixels of an RGB picture of any size: (height, width, 3) uint8 for the table, or without one (3, height,
        width) float32."""
        if self._takes_middle:
            image = middle(image)
        if self._scaling is None:
            return self._asked(image)
        return self._scaling.by_torch(image) if self._by_torch else self._scaling.by_pillow(image)

    def _asked(self, image: Image.Image) -> Vectors:
        """What the processor itself makes of a picture: (3, height, width)."""
        pixels = self._processor(images=image, return_tensors="np")["pixel_values"][0]
        return np.asarray(pixels, dtype=np.float32)

    def _common_size(self, folder: Path) -> tuple[int, int]:
        try:
            wide, high = (self._asked(Image.new("RGB", size)).shape for size in ((90, 50), (50, 90)))
        except Exception as error:  # of other tasks: they want pairs, marked points, words, and say so in many classes
            raise ModelError(
                f"the image processor in {str(folder)!r} does not take a plain picture ({type(error).__name__}: "
                f"{error}); take a model whose pictures become (3, height, width) pixels"
            ) from error
        if len(wide) != 3 or wide[0] != 3:
            raise ModelError(
                f"the processor settings in {str(folder)!r} give arrays of shape {wide}, not pictures of three "
                "channels; take a model whose pictures become (3, height, width) pixels"
            )
        if wide != high:
            raise ModelError(
                f"the processor settings in {str(folder)!r} give pictures of unlike sizes, {wide} and {high}; "
                "set do_center_crop and crop_size in its preprocessor_config.json"
            )
        return wide[1], wide[2]

    def _is_reproduced(self, scaling: Scaling, table: Vectors) -> bool:
        """Whether scaling and table give the processor's own pixels to the bit, of pictures of many shapes."""
        return all(
            np.array_equal(apply_table(scaling.by_pillow(image)[np.newaxis], table)[0], self._asked(image))
            for image in _test_pictures(*self.size)
        )


def apply_table(pixels: Levels, table: Vectors) -> Vectors:
    """Brightness (n, 3, height, width) float32 of 8-bit pixels (n, height, width, 3), by a table (3, 256)."""
    count, height, width, channels = pixels.shape
    out = np.empty((count, channels, height, width), dtype=np.float32)
    for picture, made in zip(pixels, out, strict=True):
        for channel in range(channels):
            # Any mode but the default lets numpy write where it is told to; no level lies outside of the table.
            np.take(table[channel], picture[..., channel], out=made[channel], mode="wrap")
    return out


def _takes_middle(processor: Any) -> bool:
    """Whether the short side is scaled to fit and what is left over at both ends of the long one is cut off."""
    return "shortest_edge" in _sides(processor, "do_resize", "size") and bool(
        _sides(processor, "do_center_crop", "crop_size")
    )


def _scaling(processor: Any) -> Scaling | None:
    """The scaling and cutting that a processor's settings speak of; None where they speak of anything else."""
    size, cut = _sides(processor, "do_resize", "size"), _sides(processor, "do_center_crop", "crop_size")
    if size.keys() not in (set(), {"shortest_edge"}, {"height", "width"}):
        return None
    if cut.keys() not in (set(), {"height", "width"}):
        return None
    resample = getattr(processor, "resample", None)
    return Scaling(
        resample=int(Image.Resampling.BILINEAR if resample is None else resample),
        short_edge=size.get("shortest_edge"),
        exact=(size["width"], size["height"]) if "width" in size else None,
        cut=(cut["width"], cut["height"]) if cut else None,
    )


def _sides(processor: Any, does: str, size: str) -> dict[str, int]:
    """The lengths that one of its settings gives, by name; none where another setting says that it is not used."""
    lengths = getattr(processor, size, None) if getattr(processor, does, None) else None
    return {name: int(value) for name, value in dict(lengths or {}).items() if value is not None}


def _table(processor: Any) -> Vectors | None:
    """What a processor's rescaling and normalising make of each level in each channel, computed by itself."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = Image.fromarray(np.stack([levels] * 3, axis=-1))
    try:
        found = processor(images=picture, do_resize=False, do_center_crop=False, return_tensors="np")["pixel_values"][0]
    except Exception:  # whatever it raises without its scaling, it is one to be asked itself
        return None
    found = np.asarray(found, dtype=np.float32)
    return np.ascontiguousarray(found.reshape(3, 256)) if found.shape == (3, 16, 16) else None


def _test_pictures(height: int, width: int) -> list[Image.Image]:
    """Noise in many shapes: as it ends up, small, large, wide, tall, and by odd and by exact ratios."""
    sizes = [
        (width, height),
        (width + 1, height),
        (width - 1 or 1, height + 2),
        (2 * width, 2 * height),
        (1, 1),
        (2, 3),
        (width + 37, 2 * height + 11),
        (3 * width + 5, height // 2 + 3),
        (width // 3 + 1, height),
        (40, 7),
    ]
    noise = np.random.default_rng(0)
    return [Image.fromarray(noise.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)) for size in sizes]


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
