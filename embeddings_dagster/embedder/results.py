"""What comes back for a picture: its vectors, and a reason for each that is missing."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embeddings_dagster.embedder.pictures import Boxes, Source
from embeddings_dagster.images import Box

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Failure:
    """Why a vector is missing.

    `model` and `box` are None where all of the picture's are, whatever the model and the box. `error` is an
    `ItemError` of `embeddings_dagster.errors`, or FileNotFoundError, or TypeError for what is no picture at all.
    """

    source: Source
    error: Exception
    model: str | None = None
    box: Box | None = None

    def __str__(self) -> str:
        where = "".join((f", box {tuple(self.box)}" if self.box else "", f", model {self.model}" if self.model else ""))
        return f"{named(self.source)}{where}: {type(self.error).__name__}: {self.error}"


@dataclass(frozen=True, eq=False)
class Embedded:
    """A picture's vectors: for each model one for each of `boxes`, in their order, None where it failed.

    `boxes` holds None for the whole picture. Without boxes it is `(None,)`. Vectors are float32 (D,).
    """

    source: Source
    boxes: Boxes
    vectors: Mapping[str, tuple[Vector | None, ...]]
    failures: tuple[Failure, ...] = ()

    def __getitem__(self, model: str) -> Vector | None:
        """The vector of the first box: of the whole picture, unless boxes were asked for."""
        return self.vectors[model][0]


def named(source: object) -> str:
    """A picture as messages call it: a path by itself, anything else by its kind and size."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"picture of {len(source):,} bytes"
    shape = getattr(source, "shape", None) or getattr(source, "size", None)
    if isinstance(shape, tuple):
        return f"{type(source).__name__} of {' x '.join(map(str, shape))}"
    return repr(str(source))
