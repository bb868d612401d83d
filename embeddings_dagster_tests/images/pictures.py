"""Real picture files made in the test: by Pillow where it can write them, by hand where it cannot."""

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from embeddings_dagster.images.rules import DecodeRules

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from handmade import (  # noqa: F401 - the tests' one place for pictures
    chunk,
    ink_profile,
    linear_grey_profile,
    linear_profile,
    png,
    rgb_tiff,
    scan_bomb,
    srgb_profile,
    tiff,
    tile_bomb,
    ycck_jpeg,
)

RULES = DecodeRules()
WHITE = (255, 255, 255)


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 24, height: int = 16) -> Image.Image:
    """An RGB picture no two of whose pixels are equal, so that any flip, turn or shift shows."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x * 10, y * 15, x + y], axis=-1).astype(np.uint8))


def gradient_rgba() -> Image.Image:
    picture = gradient()
    picture.putalpha(Image.fromarray(np.linspace(0, 255, 24 * 16).astype(np.uint8).reshape(16, 24)))
    return picture
