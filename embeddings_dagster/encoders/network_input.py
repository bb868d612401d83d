"""Pixels as a network takes them, made on its device: 8-bit pixels are a quarter of the bytes to send there."""

import torch
from torch import Tensor

from embeddings_dagster.encoders.base import Vectors

_LEVELS = 256


class NetworkInput:
    """Makes (n, 3, height, width) of a network's type, of pixels that are on its device already."""

    def __init__(self, table: Vectors | None, *, device: str, dtype: torch.dtype) -> None:
        """`table` (3, 256) is the brightness that 8-bit pixels stand for, None where there are none."""
        self._dtype = dtype
        self._brightness: Tensor | None = None
        if table is not None:
            self._brightness = torch.tensor(table).flatten().to(device, dtype)
            self._rows = torch.arange(0, 3 * _LEVELS, _LEVELS, dtype=torch.int32, device=device)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels of a batch, (n, height, width, 3) uint8 or (n, 3, height, width) float32."""
        if pixels.dtype != torch.uint8:
            return pixels.to(self._dtype)
        if self._brightness is None:
            raise ValueError("8-bit pixels for a model without a table of what they stand for")
        index = pixels.to(torch.int32).add_(self._rows)
        return self._brightness.index_select(0, index.flatten()).view(pixels.shape).permute(0, 3, 1, 2)
