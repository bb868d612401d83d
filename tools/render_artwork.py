"""Renders a pile of artwork from the sample: 475x475 RGBA pictures 0001.png, 0002.png, ... with real transparency.

Each is another rendering (turn, size, place, mirror, hue) of a sample picture; no two are equal, and every third hides
a colour under its fully transparent pixels, as exported artwork often does. Needs the committed sample only, no font.

    python tools/render_artwork.py OUT --count 1025
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageOps

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample"
HIDDEN_EVERY = 3


def render_artwork(out_dir: Path, count: int, size: int = 475, seed: int = 7, sample: Path = SAMPLE) -> list[Path]:
    """Writes `count` pictures of `size` x `size` pixels; returns their paths in order.

    The same arguments give the same files. Picture i depends on the seed and i, hardly ever on those before it: a draw
    that repeats an earlier picture is drawn again.
    """
    names = list(json.loads((sample / "labels.json").read_text(encoding="utf-8")))
    random.Random(seed).shuffle(names)
    out_dir.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    seen: set[bytes] = set()
    for number in range(1, count + 1):
        source = _source(sample / "emoji" / names[number % len(names)])
        for attempt in range(100):
            picture = _render(source, size, random.Random(f"{seed}/{number}/{attempt}"), number % HIDDEN_EVERY == 0)
            digest = hashlib.blake2b(picture.tobytes(), digest_size=16).digest()
            if digest not in seen:
                break
        seen.add(digest)
        written.append(out_dir / f"{number:04d}.png")
        picture.save(written[-1], compress_level=1)
    return written


@lru_cache(maxsize=512)
def _source(path: Path) -> Image.Image:
    """A sample picture as upright RGBA; the white of JPEGs stays white."""
    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture).convert("RGBA")


def _render(source: Image.Image, size: int, rng: random.Random, hidden: bool) -> Image.Image:
    """One rendering: all but the last enlargement is done on the small source, which is what makes it quick."""
    picture = _shift_hue(source, rng.choice((0.0, 0.0, rng.uniform(-40, 40))))
    if rng.random() < 0.3:
        picture = ImageOps.mirror(picture)
    picture = picture.rotate(rng.uniform(-20, 20), Image.Resampling.BICUBIC, expand=True)
    scale = size * rng.uniform(0.6, 0.95) / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    canvas = Image.new("RGBA", (size, size))
    canvas.paste(picture, (rng.randint(0, size - width), rng.randint(0, size - height)))
    if hidden:
        colour = (rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255), 0)
        canvas.paste(colour, mask=canvas.getchannel("A").point([255] + [0] * 255))
    return canvas


def _shift_hue(picture: Image.Image, degrees: float) -> Image.Image:
    """Turns the colours about the grey axis (Rodrigues' formula); alpha stays."""
    if not degrees:
        return picture
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees)) / math.sqrt(3)
    same, left, right = cos + (1 - cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin
    matrix = (same, left, right, 0, right, same, left, 0, left, right, same, 0)
    turned = picture.convert("RGB").convert("RGB", matrix)
    turned.putalpha(picture.getchannel("A"))
    return turned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=1025)
    parser.add_argument("--size", type=int, default=475)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    paths = render_artwork(options.out, options.count, options.size, options.seed)
    print(f"{len(paths)} pictures, {sum(path.stat().st_size for path in paths) / 1e6:.0f} MB in {options.out}")


if __name__ == "__main__":
    main()
