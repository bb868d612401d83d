"""Writes data/sample/emoji: a few hundred emoji as ordinary files, and the words that go with them.

A folder as people have it: names in categories, RGBA and palette PNGs, JPEGs, one JPEG that only EXIF turns upright,
and one truncated file. The same inputs give the same bytes.

    python tools/make_sample.py

make_collections.py makes the rest of the sample from these.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import shutil
import zlib
from pathlib import Path

from captions import plain
from emoji_data import Emoji, add_arguments, load_emoji
from PIL import Image
from sample_choice import CATEGORIES, EXTRA, POPULAR, QUERIES

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample"
TURNED = "camera"
TRUNCATED = "framed picture"
EXIF_ORIENTATION, TURN_RIGHT = 0x0112, 6
PALETTE_EVERY, JPEG_EVERY = 13, 17
FONT_DOC = Path("/usr/share/doc/fonts-noto-color-emoji/copyright")
CLDR_DOC = Path("/usr/share/doc/unicode-cldr-core/copyright")

README = """# The sample

What the demo and the tests work on: four collections of pictures as people have them. Paths and names are made up; all
pictures are emoji.

- `emoji/`: a folder. {count} pictures, most of them RGBA PNGs; {palette} are palette PNGs with transparency, {jpeg}
  JPEGs over white. `emoji/{turned}` is stored turned: only its EXIF orientation makes it upright.
  `emoji/broken/truncated.png` is cut short on purpose, and cannot be decoded.
- `shop/`: a catalogue, `products.csv`, and the photos its addresses lead to; the demo serves them on this machine. One
  row is there twice, one contradicts an earlier one, one names no picture.
- `scraped/`: two batches of a scraper. The second finds three items of the first again, one of them cheaper.
- `comics/`: a short comic book, with page specs (boxes of panels, and what is said in them) and their list.
- `labels.json`: path -> name and keywords, for each good picture of `emoji/`.
- `groups.csv`: path -> group, which is its folder; for the check of groups.
- `queries.json`: twenty texts, and the images that should be among the first three found for each.

Pictures: Noto Color Emoji (SIL Open Font License 1.1). Words: Unicode CLDR. Both licences are in `LICENSE`.
Made by `python tools/make_sample.py` from Debian's `fonts-noto-color-emoji` and `unicode-cldr-core`, and then by
`python tools/make_collections.py`.
"""


def choose(emoji: list[Emoji]) -> dict[str, list[Emoji]]:
    """Category -> pictures: the popular ones, then evenly spread others up to the category's number."""
    members: dict[str, list[Emoji]] = {category: [] for category in CATEGORIES}
    for item in emoji:
        category = EXTRA.get(item.name) or _category(item.group)
        if category:
            members[category].append(item)
    chosen = {}
    for category, items in members.items():
        wanted = [item for item in items if item.name in POPULAR]
        others = [item for item in items if item.name not in POPULAR and len(item.name) < 40]
        room = max(0, min(CATEGORIES[category].number - len(wanted), len(others)))
        spread = [others[i * len(others) // room] for i in range(room)]
        chosen[category] = sorted([*wanted, *spread], key=lambda item: item.name)
    return chosen


def _category(group: str) -> str | None:
    """The first category that claims the CLDR group."""
    for category, claim in CATEGORIES.items():
        if group and group.startswith(claim.groups):
            return category
    return None


def write_sample(emoji: list[Emoji], out: Path) -> dict[str, dict[str, object]]:
    """Writes the pictures under `out`/emoji; returns the labels."""
    shutil.rmtree(out / "emoji", ignore_errors=True)
    labels: dict[str, dict[str, object]] = {}
    for category, items in choose(emoji).items():
        for item in items:
            extension, data = _encode(item)
            path = f"{category}/{plain(item.name)}.{extension}"
            (out / "emoji" / category).mkdir(parents=True, exist_ok=True)
            (out / "emoji" / path).write_bytes(data)
            labels[path] = {"name": item.name, "keywords": list(item.keywords)}
    broken = next(item for item in emoji if item.name == TRUNCATED)
    (out / "emoji" / "broken").mkdir()
    (out / "emoji" / "broken" / "truncated.png").write_bytes(_png(broken.image())[:1800])
    return dict(sorted(labels.items()))


def _encode(item: Emoji) -> tuple[str, bytes]:
    """(extension, bytes) of the picture in the format that a checksum of its name gives it."""
    picture, number = item.image(), zlib.crc32(item.name.encode("utf-8"))
    if item.name == TURNED:
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = TURN_RIGHT
        return "jpg", _jpeg(picture, Image.Transpose.ROTATE_90, exif)
    if number % JPEG_EVERY == 0:
        return "jpg", _jpeg(picture)
    if number % PALETTE_EVERY == 0:
        return "png", _png(picture.quantize(255, Image.Quantize.FASTOCTREE))
    return "png", _png(picture)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _jpeg(picture: Image.Image, turn: Image.Transpose | None = None, exif: Image.Exif | None = None) -> bytes:
    """Over white, with a margin as photos of things have one."""
    side = 240
    larger = picture.resize((204, 192), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (side, side), (255, 255, 255, 255))
    canvas.alpha_composite(larger, ((side - larger.width) // 2, (side - larger.height) // 2))
    flat = canvas.convert("RGB")
    if turn is not None:
        flat = flat.transpose(turn)
    buffer = io.BytesIO()
    flat.save(buffer, "JPEG", quality=90, exif=exif or Image.Exif())
    return buffer.getvalue()


def _licence(path: Path) -> str:
    """The text of a Debian copyright file, without the line that names the format of such files."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8").strip()
    return "\n".join(line for line in text.splitlines() if not line.startswith("Format: "))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--font-licence", type=Path, default=FONT_DOC)
    parser.add_argument("--cldr-licence", type=Path, default=CLDR_DOC)
    parser.add_argument("--out", type=Path, default=SAMPLE)
    options = parser.parse_args()
    out: Path = options.out
    emoji = load_emoji(options.font, options.cldr)
    unknown = {name for names in QUERIES.values() for name in names} - POPULAR | POPULAR - {item.name for item in emoji}
    if unknown:
        raise SystemExit(f"not in the font, or asked for but not chosen: {', '.join(sorted(unknown))}")
    labels = write_sample(emoji, out)
    (out / "labels.json").write_text(json.dumps(labels, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    groups = [f"{path},{path.partition('/')[0]}\n" for path in sorted(labels)]
    (out / "groups.csv").write_text("id,group\n" + "".join(groups), encoding="utf-8")
    licences = [
        ("Pictures (emoji/): from the font Noto Color Emoji", options.font_licence),
        ("Names and keywords (labels.json): from Unicode CLDR", options.cldr_licence),
    ]
    text = "\n\n\n".join(f"{title}\n{'=' * len(title)}\n\n{_licence(path)}" for title, path in licences)
    (out / "LICENSE").write_text(text + "\n", encoding="utf-8")
    turned = next(path for path, words in labels.items() if words["name"] == TURNED)
    jpeg = sum(path.endswith(".jpg") for path in labels)
    palette = sum(Image.open(out / "emoji" / path).mode == "P" for path in labels)
    readme = README.format(count=len(labels), jpeg=jpeg, palette=palette, turned=turned)
    (out / "README.md").write_text(readme, encoding="utf-8")
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(f"{len(labels)} pictures, {palette} of them palette PNGs, {jpeg} JPEGs; {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
