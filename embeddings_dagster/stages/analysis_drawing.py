"""What pictures of pictures need: thumbnails out of `rgb_images`, and files of a bounded size."""

import io
from collections.abc import Iterable, Mapping

from PIL import Image, ImageDraw, ImageFont

from embeddings_dagster.ids import Key
from embeddings_dagster.store import Store

UPSTREAM = "rgb_images"
QUALITIES = (85, 75, 60, 45, 30)
SMALLER = 0.8  # of the sides, when no quality is low enough
GREY = (200, 200, 200)


def thumbnails(store: Store, wanted: Iterable[tuple[str, str]]) -> Mapping[str, bytes]:
    """The thumbnails of some whole pictures, given with their batches, by image id; those that are gone are left out.

    Raises:
        CorruptFile: a part of rgb_images is damaged.
    """
    by_batch: dict[str, set[Key]] = {}
    for image_id, batch in wanted:
        by_batch.setdefault(batch, set()).add(Key(image_id, 0))
    found: dict[str, bytes] = {}
    for batch, keys in sorted(by_batch.items()):
        chain = store.chain(UPSTREAM, batch)
        manifest = chain.latest()
        for rows in chain.scan(manifest, ("image_id", "thumbnail"), keys=keys) if manifest else ():
            columns = (rows.column(name).to_pylist() for name in ("image_id", "thumbnail"))
            found |= {image_id: data for image_id, data in zip(*columns, strict=True) if data}
    return found


def tile(thumbnail: bytes | None, side: int) -> Image.Image:
    """A thumbnail of at most `side` pixels; a grey square where there is none."""
    if thumbnail is not None:
        try:
            with Image.open(io.BytesIO(thumbnail)) as opened:
                picture = opened.convert("RGB")
            picture.thumbnail((side, side))
            return picture
        except OSError:
            pass
    return Image.new("RGB", (side, side), GREY)


def caption(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int = 11) -> None:
    """A line of dark text; what the font has not is shown as boxes."""
    draw.text(place, text, fill=(40, 40, 40), font=ImageFont.load_default(size))


def fitted(text: str, characters: int) -> str:
    """A text cut in its middle, where ids differ least."""
    if len(text) <= characters:
        return text
    tail = characters * 2 // 3
    return f"{text[: characters - tail - 1]}…{text[-tail:]}"


def jpeg_within(picture: Image.Image, most: int) -> bytes:
    """A JPEG of at most so many bytes: of less quality, and then smaller, as far as needed."""
    while True:
        for quality in QUALITIES:
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=quality)
            if buffer.tell() <= most:
                return buffer.getvalue()
        picture = picture.resize([max(1, int(side * SMALLER)) for side in picture.size])
