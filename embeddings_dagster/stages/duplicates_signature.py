"""What a picture looks like in 64 bits and a colour, told from its thumbnail.

The hash is that of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), 3.2.1, with
signs in place of the median: which of the lowest frequencies of the cosine transform of a small grey picture are
positive. Pictures that were compressed, resized or brightened differ in few bits. Grey sees no colour, so the mean
colour goes with it. ImageHash computes the like, but brings scipy and PyWavelets for what is three lines of numpy.
"""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

RULE = "dct-1"  # another one when signatures come out differently for the same thumbnail
SIDE = 32
LOWEST = 8
DRAFT = (64, 64)  # a JPEG of 256 pixels is decoded at a quarter: a third of the time, and the same low frequencies

# A coefficient of the orthonormal transform whose size is below this is noise of compression: half a grey level at most
# in any pixel. Blank pictures so have the hash 0, and not one that the compressor chose.
FAINT = 4.0

# DCT-II: basis[k, n] = sqrt(2/N) · cos(π (2n + 1) k / 2N), and sqrt(1/N) for k = 0.
_BASIS = np.sqrt(2 / SIDE) * np.cos(np.pi * np.outer(np.arange(LOWEST), 2 * np.arange(SIDE) + 1) / (2 * SIDE))
_BASIS[0] /= np.sqrt(2)


class Signature(NamedTuple):
    """`hash`: 64 bits as an unsigned number. `colour`: the mean of each channel, 0xRRGGBB."""

    hash: int
    colour: int


def signature(thumbnail: bytes) -> Signature | None:
    """The signature of a picture in a file's bytes; None where they are no picture."""
    try:
        with Image.open(io.BytesIO(thumbnail)) as opened:
            opened.draft("RGB", DRAFT)
            picture = opened.convert("RGB")
    except OSError:
        return None
    small = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    grey = np.asarray(small.convert("L"), np.float64)
    coefficients = (_BASIS @ grey @ _BASIS.T).ravel()
    coefficients[0] = 0.0  # brightness alone
    bits = np.packbits(coefficients > FAINT)
    red, green, blue = (int(mean) for mean in np.asarray(small, np.float64).mean(axis=(0, 1)).round())
    return Signature(int.from_bytes(bits.tobytes(), "big"), red << 16 | green << 8 | blue)
