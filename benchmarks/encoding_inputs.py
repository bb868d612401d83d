"""What is encoded: pictures that compress and decode like artwork and photographs, and full-size models.

The same number gives the same bytes. Only the first `DISTINCT` of a pile are drawn; those after them are the same
pixels with another comment in the file, so that every file has a hash of its own and all work is done for each.
"""

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

DISTINCT = 256
ARTWORK_SIZE, PHOTOGRAPH_SIZE, SMALL_SIZE, GPU_SIZE = 475, 1024, 64, 256
END_OF_PNG = 12  # bytes of the last chunk
START_OF_JPEG = 2
PARTIAL = ".partial"
TOOLS = Path(__file__).resolve().parent.parent / "tools"


def artwork(number: int, size: int = ARTWORK_SIZE) -> bytes:
    """A PNG with transparency: shaded shapes with dark, smooth outlines and a little grain, on nothing; ~150 kB."""
    rng = np.random.default_rng((number, 1))
    canvas = Image.new("RGBA", (size, size))
    for _ in range(int(rng.integers(5, 10))):
        canvas.alpha_composite(_shape(rng, size))
    grain = rng.normal(0, 1.2, (size, size, 1)) + _clouds(rng, size, 3) * 10
    pixels = np.asarray(canvas).copy()
    pixels[..., :3] = np.where(pixels[..., 3:] > 0, np.clip(pixels[..., :3] + grain, 0, 255), pixels[..., :3])
    return _saved(Image.fromarray(pixels), "PNG")


def photograph(number: int, size: int = PHOTOGRAPH_SIZE) -> bytes:
    """A JPEG with light, edges and texture at every scale, as a photograph has; of 1,024 pixels about 200 kB."""
    rng = np.random.default_rng((number, 2))
    half = size // 2  # of the coarse part, which is what takes time
    sky = np.linspace(*rng.uniform(60, 220, (2, 3)), half)[:, None, :] + _clouds(rng, half, 3) * 25
    canvas = Image.fromarray(np.clip(sky, 0, 255).astype(np.uint8)).convert("RGBA")
    for _ in range(int(rng.integers(6, 14))):
        canvas.alpha_composite(_shape(rng, half))
    coarse = np.asarray(canvas.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
    texture = _clouds(rng, size, 1, roughness=0.75) * 34 + rng.normal(0, 2.5, (size, size, 1))
    return _saved(Image.fromarray(np.clip(coarse + texture, 0, 255).astype(np.uint8)), "JPEG", quality=85)


def small(number: int) -> bytes:
    """A JPEG of 64 pixels, which costs next to nothing."""
    return photograph(number, SMALL_SIZE)


def for_gpu(number: int) -> bytes:
    """A JPEG of 256 pixels."""
    return photograph(number, GPU_SIZE)


INPUTS: dict[str, tuple[Callable[[int], bytes], str]] = {
    "png": (artwork, ".png"),
    "jpeg": (photograph, ".jpg"),
    "small": (small, ".jpg"),
    "jpeg256": (for_gpu, ".jpg"),
}


def pile(folder: Path, kind: str, count: int, *, first: int = 0) -> Path:
    """`count` pictures of a kind in `folder`, drawn from the number `first` on; what is there is left as it is."""
    if kind == "sample":
        return rendered(folder, count, first)
    draw, suffix = INPUTS[kind]
    drawn: dict[int, bytes] = {}
    for number in range(count):
        path = _place(folder, number, suffix)
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        which = number % DISTINCT
        data = drawn[which] = drawn.get(which) or draw(first + which)
        partial = path.with_name(path.name + PARTIAL)
        partial.write_bytes(data if number < DISTINCT else commented(data, f"number {number}"))
        partial.rename(path)
    return folder


def rendered(folder: Path, count: int, seed: int) -> Path:
    """Renderings of the sample's pictures, which trained models know how to tell apart; 475 pixels, RGBA."""
    sys.path.insert(0, str(TOOLS))
    from render_artwork import render_artwork

    if not folder.exists():
        partial = folder.with_name(folder.name + PARTIAL)
        render_artwork(partial, count, seed=seed)
        partial.rename(folder)
    return folder


def change(folder: Path, kind: str, count: int, share: float, comment: str) -> int:
    """Give a share of the pictures other bytes, evenly spread; returns how many."""
    suffix = INPUTS[kind][1]
    numbers = range(0, count, round(1 / share))
    for number in numbers:
        path = _place(folder, number, suffix)
        path.write_bytes(commented(path.read_bytes(), comment))
    return len(numbers)


def commented(data: bytes, comment: str) -> bytes:
    """The same picture, with a comment in its file."""
    text = comment.encode("ascii")
    if data.startswith(b"\x89PNG"):
        body = b"tEXtComment\0" + text
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return data[:-END_OF_PNG] + chunk + data[-END_OF_PNG:]
    return data[:START_OF_JPEG] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + data[START_OF_JPEG:]


def _place(folder: Path, number: int, suffix: str) -> Path:
    return folder / f"{number // 1000:03d}" / f"{number:06d}{suffix}"


def _shape(rng: np.random.Generator, size: int) -> Image.Image:
    """A shape of smooth outline, lit from one side, with a border."""
    turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = sum(rng.uniform(0, 0.25) * np.cos(n * turns + rng.uniform(0, 6)) for n in (1, 2, 3, 5))
    radius = size * rng.uniform(0.06, 0.28) * (1 + waves)
    middle = size * rng.uniform(0.25, 0.75, 2)
    corners = [(float(x), float(y)) for x, y in zip(middle[0] + radius * np.cos(turns),
                                                    middle[1] + radius * np.sin(turns), strict=True)]  # fmt: skip
    mask = Image.new("L", (size, size))
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(size / 700))
    inside = mask.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(1))
    slope = np.add.outer(np.linspace(0, rng.uniform(-1, 1), size), np.linspace(0, rng.uniform(-1, 1), size))
    light = np.clip(rng.uniform(30, 230, 3) + slope[..., None] * rng.uniform(40, 120), 0, 255).astype(np.uint8)
    dark = Image.new("RGB", (size, size), tuple(int(each) for each in rng.uniform(0, 60, 3)))
    shape = Image.composite(Image.fromarray(light), dark, inside)
    shape.putalpha(ImageChops.lighter(mask, inside))
    return shape


def _clouds(rng: np.random.Generator, size: int, channels: int, roughness: float = 0.5) -> np.ndarray:
    """Noise of all scales, (size, size, channels), of deviation about 1: coarse is strong, each finer one weaker."""
    total = np.zeros((size, size, channels), dtype=np.float32)
    strength, cells = 1.0, 4
    while cells < size:
        for channel in range(channels):
            coarse = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
            total[..., channel] += strength * np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
        strength, cells = strength * roughness, cells * 2
    return total / max(float(total.std()), 1e-6)


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
