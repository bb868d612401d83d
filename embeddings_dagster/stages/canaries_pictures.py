"""The canaries: sixteen small pictures of different kinds, that every fingerprint encodes.

They are computed in whole numbers, so that no library and no machine makes other pixels of them, and kept in PNG, which
loses none. What a model makes of them can only change because something about the computation did.
"""

import io
from collections.abc import Mapping
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 128
NAMES = (
    "gradient", "diagonal", "stripes", "bars", "checks", "rings", "disc", "cross", "triangle", "noise", "mosaic",
    "waves", "text", "night", "spots", "frame",
)  # fmt: skip

Pixels = npt.NDArray[np.uint8]
Grid = npt.NDArray[np.int64]

_Y, _X = np.mgrid[0:SIDE, 0:SIDE].astype(np.int64)
_RADII = (2 * _X - SIDE + 1) ** 2 + (2 * _Y - SIDE + 1) ** 2  # four times the squared distance from the middle


def canary_pictures() -> Mapping[str, bytes]:
    """Each canary's PNG, by its name, in an order that never changes."""
    return {name: _png(canary_pixels(name)) for name in NAMES}


def canary_pixels(name: str) -> Pixels:
    """The pixels of a canary, (128, 128, 3) uint8."""
    return np.stack(_channels()[name], axis=-1).astype(np.uint8)


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _noise(seed: int, shape: tuple[int, int]) -> Grid:
    """Numbers from 0 to 255 by a linear congruential generator (Numerical Recipes' constants), their high bits."""
    found = np.empty(shape[0] * shape[1], np.int64)
    state = seed
    for place in range(len(found)):
        state = (1_664_525 * state + 1_013_904_223) % 2**32
        found[place] = state >> 24
    return found.reshape(shape)


def _coarse(seed: int, cell: int) -> Grid:
    found: Grid = np.kron(_noise(seed, (SIDE // cell, SIDE // cell)), np.ones((cell, cell), np.int64))
    return found


def _where(condition: npt.NDArray[np.bool_], inside: tuple[int, ...], outside: tuple[int, ...]) -> tuple[Grid, ...]:
    """Two colours."""
    return tuple(np.where(condition, one, other) for one, other in zip(inside, outside, strict=True))


def _lines_of_text() -> npt.NDArray[np.bool_]:
    """Marks of the size of letters, in lines with spaces."""
    letters = _noise(7, (SIDE // 4, SIDE // 4)) > 96
    marks: npt.NDArray[np.bool_] = np.kron(letters, np.ones((4, 4), bool)).astype(bool)
    marks &= (_Y % 16 >= 4) & (_Y % 16 < 12) & (_X > 8) & (_X < SIDE - 8) & (_X % 20 < 16)
    return marks


@cache
def _channels() -> Mapping[str, tuple[Grid, ...]]:
    """Red, green and blue of every canary, each from 0 to 255."""
    smooth = tuple((_coarse(seed, 32) + _coarse(seed + 3, 16)) // 2 for seed in (11, 12, 13))
    return {
        "gradient": (2 * _X, 255 - 2 * _X, 0 * _X + 128),
        "diagonal": (_X + _Y, 255 - _X - _Y, 2 * _Y),
        "stripes": _where(_X // 8 % 2 == 0, (230, 40, 40), (250, 250, 240)),
        "bars": _where(_Y // 16 % 2 == 0, (20, 60, 160), (240, 210, 60)),
        "checks": _where((_X // 16 + _Y // 16) % 2 == 0, (0, 0, 0), (255, 255, 255)),
        "rings": _where(_RADII // 2_000 % 2 == 0, (30, 140, 70), (245, 235, 220)),
        "disc": _where(_RADII < 90**2, (250, 190, 20), (80, 170, 240)),
        "cross": _where((abs(_X - 64) < 14) | (abs(_Y - 64) < 14), (210, 20, 60), (235, 235, 235)),
        "triangle": _where((_Y > 24) & (_Y < 108) & (2 * abs(_X - 64) < _Y - 24), (120, 40, 150), (200, 230, 180)),
        "noise": tuple(_noise(seed, (SIDE, SIDE)) for seed in (1, 2, 3)),
        "mosaic": tuple(_coarse(seed, 16) for seed in (4, 5, 6)),
        "waves": (abs((_X + _Y * _Y // 64) % 64 - 32) * 7, abs((_Y + _X) % 48 - 24) * 10, 0 * _X + 90),
        "text": _where(_lines_of_text(), (25, 25, 25), (252, 250, 245)),
        "night": (smooth[0] // 8, smooth[1] // 8, smooth[2] // 6),
        "spots": _where((_X % 32 - 16) ** 2 + (_Y % 32 - 16) ** 2 < 90, (240, 90, 150), (250, 240, 230)),
        "frame": _where((np.minimum(_X, SIDE - 1 - _X) < 12) | (np.minimum(_Y, SIDE - 1 - _Y) < 12), (110, 70, 30),
                        (160, 200, 220)),
    }  # fmt: skip
