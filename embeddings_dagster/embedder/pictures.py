"""Pictures as applications have them, to pixels: paths, bytes, PIL images and arrays, all by the project's own rules.

Whatever is given costs itself alone. A path is opened only where it is a regular file, and read up to the byte cap;
bytes are decoded as those of any stranger (see `images.Workshop`).
"""

import operator
import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from embeddings_dagster.errors import DecodeFailed, OutOfMemory, ReadFailed, TooManyBytes, TooManyPixels
from embeddings_dagster.images import Box, DecodeRules, Workshop
from embeddings_dagster.images.decode import render
from embeddings_dagster.images.formats import PNG
from embeddings_dagster.images.opening import Opened, naming_errors

# A str is always a path. An array is uint8, (h, w) grey, (h, w, 3) RGB or (h, w, 4) RGBA.
Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | npt.NDArray[np.uint8]
Boxes = tuple[Box | None, ...]
WHOLE: Boxes = (None,)

GREY, CHANNELS = 2, (3, 4)


class Pictures:
    """Decodes under some rules, for any number of threads."""

    def __init__(self, rules: DecodeRules) -> None:
        self._rules = rules
        self._workshop = Workshop(rules)
        # A PIL image that was opened but not loaded yet reads its file: two threads at once would mix up its state.
        self._loading = threading.Lock()

    def close(self) -> None:
        """End the processes that decode; no thread may be decoding."""
        self._workshop.close()

    def decode(self, source: Source, *, at_least: int = 0) -> Image.Image:
        """`source` as an upright RGB picture over the background; see `images.decode` for `at_least`.

        Raises:
            FileNotFoundError: it is a path at which there is nothing.
            TypeError: it is nothing that could be a picture.
            ItemError: it cannot be read or decoded.
            DecoderUnavailable: no process to decode it in can be started.
        """
        try:
            if isinstance(source, Image.Image):
                return self._of_image(source)
            if isinstance(source, np.ndarray):
                return self._of_image(_of_array(source))
            return self._workshop.decode(self._bytes(source), at_least=at_least)
        except MemoryError as error:
            raise OutOfMemory("not enough memory to read the picture") from error

    def _bytes(self, source: object) -> bytes:
        if isinstance(source, bytes):
            return source
        if isinstance(source, (bytearray, memoryview)):
            return bytes(source)
        if isinstance(source, (str, os.PathLike)):
            return read(Path(source), self._rules.max_bytes)
        raise TypeError(
            f"{type(source).__name__} is not a picture; give a path, bytes, a PIL image or an array of uint8"
        )

    def _of_image(self, image: Image.Image) -> Image.Image:
        """What `images.decode` makes of a file with these pixels, profile and orientation."""
        if image.width * image.height > self._rules.max_pixels:
            raise TooManyPixels(
                f"{image.width:,} x {image.height:,} pixels are more than max_pixels = {self._rules.max_pixels:,}"
            )
        if not image.width * image.height:
            raise DecodeFailed(f"{image.width} x {image.height} pixels: there is nothing to see")
        with naming_errors(image.format or "PIL image"):
            with self._loading:
                image.load()
            # `render` reads no more than any image has; what is particular to its formats it asks by class.
            return render(Opened(cast(ImageFile.ImageFile, image), PNG, depth=8, repaired=False), self._rules)


def read(path: Path, cap: int) -> bytes:
    """The bytes of the regular file at `path`, links followed, at most `cap` of them.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ReadFailed: it is no regular file, or cannot be read.
        TooManyBytes: it has more than `cap` bytes.
    """
    try:
        # Without O_NONBLOCK, opening a pipe would wait for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ReadFailed(f"{str(path)!r} is not a regular file; give the path of a picture")
            data = file.read(cap + 1)
    except NotADirectoryError as error:
        raise FileNotFoundError(error.errno, "No such file or directory", str(path)) from error
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ReadFailed(f"{str(path)!r} cannot be read ({reason}); correct the path or its permissions") from error
    if len(data) > cap:
        raise TooManyBytes(f"{str(path)!r} has more than max_bytes = {cap:,} bytes")
    return data


def boxes_of(boxes: Sequence[Sequence[int] | None] | None) -> Boxes:
    """Boxes `(x, y, w, h)` in pixels of the upright picture, None for all of it, as the rest of the project has them.

    Raises:
        TypeError: one is not four whole numbers.
        ValueError: there are none.
    """
    if boxes is None:
        return WHOLE
    made = tuple(None if box is None else _box(box) for box in boxes)
    if not made:
        raise ValueError("there are no boxes; leave `boxes` out for the whole picture")
    return made


def _box(values: Sequence[int]) -> Box:
    try:
        x, y, w, h = map(operator.index, values)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{values!r} is not a box, which is four whole numbers of pixels: x, y, width, height"
        ) from error
    return Box(x, y, w, h)


def _of_array(array: npt.NDArray[Any]) -> Image.Image:
    coloured = array.ndim == GREY + 1 and array.shape[2] in CHANNELS
    if array.dtype != np.uint8 or not (array.ndim == GREY or coloured):
        raise TypeError(
            f"an array of shape {array.shape} and type {array.dtype} is not a picture, which is uint8 of shape (h, w), "
            "(h, w, 3) or (h, w, 4)"
        )
    if not array.size:
        raise DecodeFailed(f"an array of shape {array.shape} has no pixels")
    return Image.fromarray(np.ascontiguousarray(array))
