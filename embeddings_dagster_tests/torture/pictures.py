"""Small pictures of their own for every number, and bytes that are none."""

import io
import random

from PIL import Image, ImageDraw

SIDE = 48
KINDS = ("rgba.png", "rgb.png", "jpg", "rgb.png", "rgba.png", "webp", "jpg", "gif")  # a GIF is decoded by a worker


def kind_of(number: int) -> str:
    """The file extension of a picture."""
    return KINDS[number % len(KINDS)].rpartition(".")[2]


def picture(number: int) -> bytes:
    """Another one for each number. Two RGB PNGs have the same size in bytes, for they are stored and not packed."""
    kind = KINDS[number % len(KINDS)]
    image = draw(number, SIDE, SIDE, "RGBA" if kind == "rgba.png" else "RGB")
    form = {"jpg": "JPEG", "webp": "WEBP", "gif": "GIF"}.get(kind, "PNG")
    return saved(image, form, **({"compress_level": 0} if kind == "rgb.png" else {}))


def page(number: int) -> bytes:
    """A comic page, a JPEG of 96 × 120 pixels."""
    return saved(draw(number, 96, 120, "RGB"), "JPEG", quality=85)


def draw(number: int, width: int, height: int, mode: str) -> Image.Image:
    """Some shapes; in RGBA on nothing, with a colour hidden in that nothing."""
    chance = random.Random(f"picture {number}")

    def colour() -> tuple[int, ...]:
        return tuple(chance.randrange(256) for _ in range(3))

    ground = (*colour(), 0) if mode == "RGBA" else colour()
    image = Image.new(mode, (width, height), ground)
    shapes = ImageDraw.Draw(image)
    for _ in range(chance.randint(2, 5)):
        left, top = chance.randrange(width - 8), chance.randrange(height - 8)
        right, bottom = chance.randint(left + 6, width), chance.randint(top + 6, height)
        fill = (*colour(), chance.choice([255, 255, 128])) if mode == "RGBA" else colour()
        chance.choice([shapes.rectangle, shapes.ellipse])((left, top, right, bottom), fill)
    return image


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def broken(data: bytes, number: int) -> bytes:
    """What became of a picture's bytes: cut short, or something else of the same size."""
    if number % 2:
        return data[: len(data) // 2]
    return (b"this is no picture, whatever its name says; " * (len(data) // 40 + 1))[: len(data)]
