"""Which rows of one generation a search may return: a mask over the labels of each of its segments."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Selection:
    """`masks`: one for each opened segment, in their order, of as many values as that has rows. Dead rows need not be
    left out: no search returns them."""

    masks: tuple[Mask, ...]

    def __and__(self, other: "Selection") -> "Selection":
        """What both allow."""
        return Selection(tuple(one & two for one, two in zip(self.masks, other.masks, strict=True)))
