"""What has to be there after a run that ended well: a plain reading of the input files, by the documented rules.

Nothing of the project is asked but what its pages say: which files are inputs, what their ids are, which of them fail
at which stage, and which batch an image is shown from where several list it.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from embeddings_dagster.ids import Key
from embeddings_dagster_tests.torture import pictures

Box = tuple[int, int, int, int]
EXTENSIONS = {".png", ".jpg", ".webp", ".gif"}


class Part(NamedTuple):
    """A region. `usable`: whether its box is one."""

    box: Box | None = None
    text: str | None = None
    usable: bool = True


@dataclass(frozen=True)
class Entry:
    """A picture that a source lists. `data`: its bytes, None where it cannot be had. `batch`: where the source has its
    own; `newest` orders those."""

    image_id: str
    data: bytes | None
    parts: dict[int, Part] = field(default_factory=lambda: {0: Part()})
    batch: str | None = None
    newest: str = ""
    title: str | None = None
    price: float | None = None

    @property
    def source(self) -> str:
        return self.image_id.partition(":")[0]

    @property
    def opens(self) -> bool:
        """Whether it is a picture by its first bytes, so that `raw_images` has a row of it."""
        return self.data is not None and _opens(self.data)

    @property
    def decodes(self) -> bool:
        """Whether it is one to its last byte."""
        return self.opens and self.data is not None and _decodes(self.data)

    @property
    def fails(self) -> bool:
        """Whether any stage fails on it, or on a region of it."""
        return not self.decodes or any(not part.usable for part in self.parts.values())

    def rows(self) -> dict[Key, Part]:
        """The regions that have pixels."""
        if not self.decodes:
            return {}
        return {Key(self.image_id, number): part for number, part in self.parts.items() if part.usable}

    def failed(self) -> set[Key]:
        """The regions that `rgb_images` fails on."""
        if not self.opens:
            return set()
        bad = {number for number, part in self.parts.items() if not part.usable or not self.decodes}
        return {Key(self.image_id, number) for number in bad}


_memory: dict[bytes, tuple[bool, bool]] = {}


def _state(data: bytes) -> tuple[bool, bool]:
    if data not in _memory:
        _memory[data] = _look(data)
    return _memory[data]


def _look(data: bytes) -> tuple[bool, bool]:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            try:
                opened.load()
            except Exception:
                return True, False
    except Exception:
        return False, False
    return True, True


def _opens(data: bytes) -> bool:
    return _state(data)[0]


def _decodes(data: bytes) -> bool:
    return _state(data)[1]


def expected(root: Path, *, old: bool) -> list[Entry]:
    """Every picture that the sources list now; `old`: whether the source of that name is in the settings."""
    found = [*_folder(root / "pictures", "art"), *_products(root), *_batches(root), *_pages(root)]
    return [*found, *_folder(root / "old", "old")] if old else found


def _folder(root: Path, source: str) -> Iterator[Entry]:
    for path in root.rglob("*"):
        if path.suffix in EXTENSIONS:
            local_id = path.relative_to(root).as_posix()
            yield Entry(f"{source}:{local_id}", path.read_bytes(), title=path.name)


def _products(root: Path) -> Iterator[Entry]:
    with (root / "products.csv").open(newline="", encoding="utf-8") as file:
        rows: dict[str, dict[str, str]] = {}
        for row in csv.DictReader(file):
            rows.setdefault(row["product_id"], row)  # the first row of an id counts
    for name, row in rows.items():
        price = float(row["price"]) if row["price"] else None
        data = _served(row["image_url"])
        yield Entry(f"shop:{name}", data, {0: Part(text=row["title"])}, title=row["title"], price=price)


def _served(url: str) -> bytes | None:
    place, _, name = url.rpartition("/")
    return pictures.picture(int(name.partition(".")[0])) if place.endswith("/p") else None


def _batches(root: Path) -> Iterator[Entry]:
    for path in (root / "scraped").glob("*/batch.json"):
        document = json.loads(path.read_bytes())
        for item in document["items"]:
            text = f"{item['title']}\n{item['description']}"
            for ordinal, place in enumerate(item["local_image_paths"]):
                file = path.parent / place
                yield Entry(
                    f"fashion:{item['item_id']}" + (f"#{ordinal}" if ordinal else ""),
                    file.read_bytes() if file.exists() else None,
                    {0: Part(text=text)},
                    batch=f"fashion__{path.parent.name}",
                    newest=document["scraped_at"],
                    title=item["title"],
                    price=item["price"],
                )


def _pages(root: Path) -> Iterator[Entry]:
    for path in (root / "comics").rglob("*.json"):
        spec = json.loads(path.read_bytes())
        parts = {0: Part()}
        for number, panel in enumerate(spec["panels"], 1):
            x, y, w, h = panel["panel_coords"]
            said = panel["text"]
            text = "\n".join([*said["dialogue"], *said["narration"], *said["sfx"]])
            parts[number] = Part((x, y, w, h), text or None, bool(w and h))
        image = path.with_suffix(".jpg")
        image_id = f"comics:{path.relative_to(root / 'comics').as_posix()}"
        yield Entry(image_id, image.read_bytes(), parts, title=image.name)  # a name, for want of a title


def shown(entries: list[Entry]) -> dict[str, Entry]:
    """Of each image the entry of the newest batch, of some entries that a dataset has rows of."""
    best: dict[str, Entry] = {}
    for entry in entries:
        other = best.get(entry.image_id)
        if other is None or (entry.newest, entry.batch or "") > (other.newest, other.batch or ""):
            best[entry.image_id] = entry
    return best
