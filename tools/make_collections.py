"""Writes the sample's other three collections, composed of the pictures in data/sample/emoji: a shop's catalogue with
its photos, the batches of a scraper, and a short comic book with page specs. The same pictures give the same bytes.

    python tools/make_collections.py

It ends by writing which images, in all collections, answer the demo's questions.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import shutil
import textwrap
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from sample_choice import QUERIES
from sample_story import BATCHES, BOOK, PAGES, PRODUCTS, Item, Panel

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample"
SHOP = "http://127.0.0.1:8765"  # the demo serves the photos there, or at whatever port is free
SIDE = 224
COLOURS = ("#fdf3d8", "#e3f1e5", "#e4ecf7", "#f7e4ec", "#efe7f8", "#f1f1f1", "#ffffff")
PAGE, MARGIN, STRIP = (600, 840), 18, 52


class Pictures:
    """The emoji by name, and how a photo of one is made."""

    def __init__(self, folder: Path, labels: dict[str, dict[str, object]]) -> None:
        self._folder = folder
        self._paths = {str(words["name"]): path for path, words in labels.items()}

    def cut_out(self, name: str, side: int) -> Image.Image:
        """The emoji on nothing, `side` pixels at its longer side."""
        with Image.open(self._folder / self._paths[name]) as opened:
            picture = opened.convert("RGBA")
        scale = side / max(picture.size)
        return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)

    def photo(self, name: str, take: int = 0) -> bytes:
        """A JPEG of it on a coloured ground; every take differs in colour, size and place."""
        number = zlib.crc32(f"{name} {take}".encode())
        canvas = Image.new("RGB", (SIDE, SIDE), COLOURS[number % len(COLOURS)])
        picture = self.cut_out(name, SIDE * (78, 70, 62)[take % 3] // 100)
        if take % 3 == 1:
            picture = picture.rotate(-8, Image.Resampling.BICUBIC, expand=True)
        left, top = ((SIDE - each) // 2 for each in picture.size)
        canvas.paste(picture, (left + (number >> 8) % 15 - 7, top + (number >> 16) % 15 - 7), picture)
        return jpeg(canvas)


def jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()


def slug(name: str) -> str:
    return name.replace(" ", "-").lower()


def write_shop(out: Path, pictures: Pictures) -> Iterator[tuple[str, str]]:
    """products.csv and the photos its addresses lead to; yields (image id, name of the emoji)."""
    (out / "photos").mkdir(parents=True)
    header = ("product_id", "brand", "title", "price", "category", "rating", "image_url", "product_url")
    with (out / "products.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in PRODUCTS:
            photo = f"{SHOP}/photos/{slug(row.picture)}.jpg" if row.picture else ""
            words = (row.brand, row.title, row.price, row.category, row.rating)
            writer.writerow((row.id, *words, photo, f"{SHOP}/products/{row.id}"))
            if row.picture:
                (out / "photos" / f"{slug(row.picture)}.jpg").write_bytes(pictures.photo(row.picture))
                yield f"shop:{row.id}", row.picture


def write_batches(out: Path, pictures: Pictures) -> Iterator[tuple[str, str]]:
    """A folder for each visit of the scraper; yields (image id, name of the emoji)."""
    for batch, items in BATCHES.items():
        date, time = batch.split("_")[1:3]
        scraped_at = f"{date[:4]}-{date[4:6]}-{date[6:]}T{time[:2]}:{time[2:4]}:{time[4:]}Z"
        listed = []
        for item in items:
            paths = [f"images/{item.id}/{number}.jpg" for number in range(item.pictures)]
            for number, path in enumerate(paths):
                (out / batch / path).parent.mkdir(parents=True, exist_ok=True)
                (out / batch / path).write_bytes(pictures.photo(item.picture, number))
                yield f"fashion:{item.id}" + (f"#{number}" if number else ""), item.picture
            listed.append(_item(item, paths))
        document = {
            "batch_id": batch,
            "category": "fashion",
            "total_items": len(items),
            "pages_scraped": 1,
            "scraped_at": scraped_at,
            "items": listed,
        }
        (out / batch / "batch.json").write_text(dumps(document), encoding="utf-8")


def _item(item: Item, paths: list[str]) -> dict[str, object]:
    told = {
        "item_id": item.id,
        "title": item.title,
        "price": item.price,
        "currency": "EUR",
        "brand": item.brand,
        "size": item.size,
        "condition": item.condition,
        "url": f"https://fashion.example/items/{item.id}",
    }
    return {**{name: value for name, value in told.items() if value != ""}, "local_image_paths": paths}


def write_book(out: Path, pictures: Pictures) -> Iterator[tuple[str, str]]:
    """Pages, a spec for each, and the list of specs; yields (image id, name of an emoji in it)."""
    folder = slug(BOOK)
    (out / folder).mkdir(parents=True)
    for number, panels in enumerate(PAGES, start=1):
        page, boxes = draw_page(panels, pictures)
        name = f"p{number:03d}"
        (out / folder / f"{name}.jpg").write_bytes(jpeg(page))
        spec = {
            "page_image_path": f"E:\\library\\{folder}\\{name}.jpg",
            "panels": [
                {
                    "panel_coords": list(box),
                    "text": {"dialogue": panel.dialogue, "narration": panel.narration, "sfx": panel.sfx},
                }
                for panel, box in zip(panels, boxes, strict=True)
            ],
        }
        (out / folder / f"{name}.json").write_text(dumps(spec), encoding="utf-8")
        for panel in panels:
            yield f"comics:{folder}/{name}.json", panel.picture
    names = [f"{folder}\\p{number:03d}.json" for number in range(1, len(PAGES) + 1)]
    (out / "specs.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def draw_page(panels: tuple[Panel, ...], pictures: Pictures) -> tuple[Image.Image, list[tuple[int, int, int, int]]]:
    """The page, and each panel's box (x, y, w, h): one wide panel above, then two a row."""
    page = Image.new("RGB", PAGE, "#ffffff")
    boxes = list(layout(len(panels)))
    for panel, box in zip(panels, boxes, strict=True):
        page.paste(draw_panel(panel, box[2:], pictures), box[:2])
    return page, boxes


def layout(count: int) -> Iterator[tuple[int, int, int, int]]:
    rows = [1] * (count % 2) + [2] * (count // 2)
    height = (PAGE[1] - MARGIN * (len(rows) + 1)) // len(rows)
    for row, columns in enumerate(rows):
        width = (PAGE[0] - MARGIN * (columns + 1)) // columns
        for column in range(columns):
            yield MARGIN + column * (width + MARGIN), MARGIN + row * (height + MARGIN), width, height


def draw_panel(panel: Panel, size: tuple[int, int], pictures: Pictures) -> Image.Image:
    ground = COLOURS[zlib.crc32(panel.picture.encode()) % len(COLOURS)]
    canvas = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(canvas)
    picture = pictures.cut_out(panel.picture, min(size[0], size[1] - STRIP) * 8 // 10)
    room = size[1] - STRIP - picture.height
    canvas.paste(picture, ((size[0] - picture.width) // 2, STRIP + room // 2), picture)
    words = textwrap.fill("  ".join((*panel.narration, *panel.dialogue, *panel.sfx)), (size[0] - 2 * MARGIN) // 8)
    draw.rectangle((0, 0, size[0], STRIP), "#fffbe6" if panel.narration else "#ffffff")
    draw.text((size[0] // 2, STRIP // 2), words, "#202020", ImageFont.load_default(16), anchor="mm", align="center")
    draw.rectangle((0, 0, size[0] - 1, size[1] - 1), outline="#202020", width=3)
    return canvas


def dumps(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def write_queries(sample: Path, others: list[tuple[str, str]], labels: dict[str, dict[str, object]]) -> None:
    """queries.json: each question with every picture, of all collections, that answers it."""
    ids: dict[str, list[str]] = defaultdict(list)
    for path, words in labels.items():
        ids[str(words["name"])].append(f"emoji:{path}")
    for image_id, name in others:
        if image_id not in ids[name]:
            ids[name].append(image_id)
    queries = [{"query": query, "expected": [each for name in names for each in ids[name]]}
               for query, names in QUERIES.items()]  # fmt: skip
    (sample / "queries.json").write_text(dumps(queries), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=Path, default=SAMPLE)
    sample: Path = parser.parse_args().sample
    labels = json.loads((sample / "labels.json").read_text(encoding="utf-8"))
    pictures = Pictures(sample / "emoji", labels)
    made: list[tuple[str, str]] = []
    for name, write in {"shop": write_shop, "scraped": write_batches, "comics": write_book}.items():
        shutil.rmtree(sample / name, ignore_errors=True)
        made += write(sample / name, pictures)
    write_queries(sample, made, labels)
    size = sum(file.stat().st_size for file in sample.rglob("*") if file.is_file())
    print(f"{len(PRODUCTS)} products, {len(BATCHES)} batches, {len(PAGES)} pages; the sample has {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
