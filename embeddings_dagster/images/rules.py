"""What decides the pixels: the rules that `decode` follows, and the recipe that names them.

Two pictures made under the same recipe from the same bytes are equal, pixel for pixel. The limits are not part of the
recipe: they decide whether a picture is accepted, never what it looks like, so that raising one leaves all others be;
nor is the size of thumbnails, which no model sees.
"""

import hashlib
from dataclasses import dataclass

from PIL import features

# Raise it with any change that alters a pixel of any picture: every picture is then made anew.
DECODER_VERSION = 2


@dataclass(frozen=True)
class DecodeRules:
    """The background under transparent pixels (sRGB), what is refused (more pixels or bytes than this, and what takes
    longer in a process of its own), and the longest side of a thumbnail in pixels."""

    background: tuple[int, int, int] = (255, 255, 255)
    max_pixels: int = 100_000_000
    max_bytes: int = 256 * 2**20
    max_seconds: float = 60.0
    thumbnail_size: int = 256


def recipe(rules: DecodeRules) -> str:
    """The version of all that decides the pixels, as 12 hexadecimal digits.

    Libraries are named by their major version only: a fix in libjpeg may move a colour by one level, which is below
    what a model sees, and must not have every picture made and encoded again.
    """
    pillow = (features.version("pil") or "").split(".")[0]
    parts = (f"decoder {DECODER_VERSION}", f"pillow {pillow}", f"background {rules.background}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
