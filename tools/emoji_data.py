"""The emoji pictures of a colour-bitmap font, with their names and keywords.

Pictures are the PNG bitmaps of the CBDT table of Noto Color Emoji; words are the `tts` names and the keywords of
CLDR's English annotations; groups are CLDR's character labels. Left out: skin-tone variants (one picture five times),
and pictures equal to an earlier one (Norway's flag is also that of two territories).

    python tools/emoji_data.py            # counts, and a few of the pictures
"""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fontTools.ttLib import TTFont
from PIL import Image

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
CLDR = Path("/usr/share/unicode/cldr/common")

VARIATION_SELECTOR = "\ufe0f"
SKIN_TONES = frozenset(chr(code) for code in range(0x1F3FB, 0x1F400))


@dataclass(frozen=True)
class Emoji:
    """One picture with its words; `png` is the font's own RGBA bitmap, about 136x128 pixels."""

    text: str
    name: str
    keywords: tuple[str, ...]
    group: str
    png: bytes

    def image(self) -> Image.Image:
        """The picture as RGBA."""
        with Image.open(io.BytesIO(self.png)) as picture:
            return picture.convert("RGBA")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two inputs, at the places where Debian's packages install them."""
    parser.add_argument("--font", type=Path, default=FONT, help="NotoColorEmoji.ttf (fonts-noto-color-emoji)")
    parser.add_argument("--cldr", type=Path, default=CLDR, help="CLDR's common/ folder (unicode-cldr-core)")


def load_emoji(font: Path = FONT, cldr: Path = CLDR) -> list[Emoji]:
    """All pictures that have a name, in CLDR's order, each distinct bitmap once.

    Raises FileNotFoundError when the font or the annotations are not there.
    """
    groups = _groups(cldr / "properties" / "labels.txt")
    glyphs = _Glyphs(font)
    found: list[Emoji] = []
    seen: set[str] = set()
    for text, name, keywords in _annotations(cldr):
        png = glyphs.bitmap(text)
        if png is None or (len(text) > 1 and SKIN_TONES & set(text)):
            continue
        digest = hashlib.sha256(png).hexdigest()
        if digest in seen:
            continue
        seen.add(digest)
        found.append(Emoji(text, name, keywords, groups.get(text, ""), png))
    return found


def _annotations(cldr: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(characters, name, keywords) of every annotated sequence."""
    words: dict[str, tuple[str, ...]] = {}
    names: dict[str, str] = {}
    for folder in ("annotations", "annotationsDerived"):
        for node in ET.parse(cldr / folder / "en.xml").iter("annotation"):
            characters, text = node.attrib["cp"], node.text or ""
            if node.attrib.get("type") == "tts":
                names[characters] = text.strip()
            else:
                words[characters] = tuple(word.strip() for word in text.split("|"))
    for characters, name in names.items():
        yield characters, name, words.get(characters, ())


def _groups(path: Path) -> dict[str, str]:
    """Characters -> "Group/subgroup" from CLDR's labels; empty when this CLDR has none."""
    if not path.exists():
        return {}
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("["):
            continue
        members, group, subgroup = (field.strip() for field in line.split(";")[:3])
        for characters in _unicode_set(members):
            found.setdefault(characters, f"{group}/{subgroup}")
    return found


def _unicode_set(pattern: str) -> Iterable[str]:
    """Members of the plain UnicodeSets of labels.txt: characters, ranges a-b, and {sequences}."""
    body = pattern.strip().removeprefix("[").removesuffix("]").replace(VARIATION_SELECTOR, "")
    for sequence, first, last, single in re.findall(r"\{([^}]*)\}|(.)-(.)|(.)", body):
        if first:
            yield from (chr(code) for code in range(ord(first), ord(last) + 1))
        else:
            yield sequence or single


class _Glyphs:
    """Finds the bitmap of a character sequence: character map, then the font's ligatures."""

    def __init__(self, path: Path) -> None:
        font = TTFont(path)
        self._map: dict[int, str] = font.getBestCmap()
        self._bitmaps = font["CBDT"].strikeData[0]
        self._ligatures: dict[tuple[str, ...], str] = {}
        for lookup in font["GSUB"].table.LookupList.Lookup:
            for table in lookup.SubTable:
                for first, ligatures in getattr(table, "ligatures", {}).items():
                    for ligature in ligatures:
                        self._ligatures.setdefault((first, *ligature.Component), ligature.LigGlyph)

    def bitmap(self, text: str) -> bytes | None:
        """PNG bytes of the sequence, or None when the font has no picture of it."""
        names = [self._map.get(ord(character)) for character in text if character != VARIATION_SELECTOR]
        if not names or None in names:
            return None
        glyph = names[0] if len(names) == 1 else self._ligatures.get(tuple(str(name) for name in names))
        data = self._bitmaps.get(glyph)
        return None if data is None else bytes(data.imageData)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    options = parser.parse_args()
    pictures = load_emoji(options.font, options.cldr)
    print(f"{len(pictures)} pictures, {len({word for item in pictures for word in item.keywords})} keywords")
    for item in pictures[:: max(1, len(pictures) // 20)]:
        print(item.name, "|", ", ".join(item.keywords), "|", item.group, "|", item.image().size)


if __name__ == "__main__":
    main()
