"""The inputs of the world: pictures, a catalogue, scraped batches and comic pages on disk, and what may happen to them.

Everything is drawn from one seeded generator. Nothing is remembered here of what lies on the disk but what was taken
away, so that it may come back: what there is, `expected` reads from the files.
"""

import csv
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from embeddings_dagster_tests.shop import Shop, in_turn, status
from embeddings_dagster_tests.shop import picture as answer
from embeddings_dagster_tests.torture import pictures

HEADER = ("product_id", "brand", "title", "price", "category", "image_url")
WORDS = ("red", "old", "tiny", "round", "loud", "calm", "glass", "iron")
THINGS = ("jacket", "lamp", "boat", "owl", "kettle", "bridge", "drum", "pear")
ART_FOLDERS = ("", "a", "a/deep", "größe & more")
SETTINGS = """\
batch_images: 8
rgb: {{background: "{background}"}}
dagster: {{retry_seconds: 0.01}}
sources:
  art: {{kind: folder, path: pictures}}
  shop:
    kind: catalog
    path: products.csv
    fields: {{price: number}}
    text: [title]
    download: {{private_hosts: [127.0.0.1], retry_seconds: 0.01}}
  fashion: {{kind: scraped, path: scraped, text: [title, description]}}
  comics: {{kind: comics, path: comics, batches: book}}
{old}models:
  clip: {{kind: clip, model: "{clip}", device: cpu}}
  dino: {{kind: dino, model: "bundled:dino", device: cpu}}
"""
OLD = "  old: {kind: folder, path: old}\n"
BACKGROUNDS = ("#ffffff", "#204060")


class Inputs:
    """A project's inputs below `root`; each of `changes` does something to them and says what."""

    def __init__(self, root: Path, chance: random.Random, shop: Shop, models: tuple[str, ...]) -> None:
        """`models`: names of the models that `clip` may be."""
        self.root, self._chance, self._shop, self._models = root, chance, shop, models
        self._numbers = iter(range(1_000_000))
        self._removed: list[tuple[Path, bytes]] = []
        self._hidden: list[Path] = []
        self.background, self.clip, self.has_old = BACKGROUNDS[0], models[0], False
        self.forgettable = False  # `old` has been taken out of the settings, and not been forgotten yet
        self.changes: dict[Callable[[], str | None], int] = {
            self._add_picture: 5, self._change_picture: 4, self._change_same_size: 3, self._remove_file: 4,
            self._bring_back: 4, self._rename: 4, self._copy: 2, self._break: 4, self._touch: 2,
            self._add_product: 4, self._edit_product: 5, self._remove_product: 3, self._lose_picture_of_product: 2,
            self._add_batch: 3, self._edit_item: 5, self._remove_item: 3, self._empty_batch: 1, self._hide_batch: 1,
            self._return_batch: 2, self._add_page: 3, self._edit_page: 6, self._remove_page: 2, self._spoil_box: 2,
            self._change_background: 1, self._change_model: 1, self._toggle_old: 2,
        }  # fmt: skip

    def make(self) -> None:
        """The world as it is at first."""
        for _ in range(9):
            self._add_picture()
        self._write_products([])
        for _ in range(6):
            self._add_product()
        for _ in range(2):
            self._add_batch()
        for _ in range(3):
            self._add_page()
        (self.root / "old").mkdir()
        for _ in range(3):
            number = next(self._numbers)
            self._write(self.root / "old" / f"{number}.{pictures.kind_of(number)}", pictures.picture(number))
        self.write_settings()

    def change(self) -> str:
        """One change at random that can be made now; what it was."""
        while True:
            (act,) = self._chance.choices(list(self.changes), list(self.changes.values()))
            said = act()
            if said is not None:
                return f"{act.__name__.strip('_')} {said}".strip()

    def write_settings(self) -> None:
        old = OLD if self.has_old else ""
        text = SETTINGS.format(background=self.background, clip=self.clip, old=old)
        self._write(self.root / "embeddings.yaml", text.encode())

    # ---- files of any source

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def _files(self, *folders: str, kinds: tuple[str, ...] = (".png", ".jpg", ".webp", ".gif")) -> list[Path]:
        """Pictures below some folders, in an order that the seed decides."""
        found = [path for folder in folders for path in (self.root / folder).rglob("*") if path.suffix in kinds]
        return sorted(path for path in found if not any(part.startswith(".") for part in path.parts))

    def _pick(self, *folders: str) -> Path | None:
        found = self._files(*folders)
        return self._chance.choice(found) if found else None

    def _said(self, path: Path, *more: object) -> str:
        return " ".join([str(path.relative_to(self.root)), *map(str, more)])

    def _add_picture(self) -> str:
        number = next(self._numbers)
        folder = self.root / "pictures" / self._chance.choice(ART_FOLDERS)
        path = folder / f"{number:03d}.{pictures.kind_of(number)}"
        self._write(path, pictures.picture(number))
        return self._said(path)

    def _change_picture(self) -> str | None:
        path = self._pick("pictures", "scraped")
        if path is None:
            return None
        self._write(path, pictures.picture(next(self._numbers)))  # whatever its name says
        return self._said(path)

    def _change_same_size(self) -> str | None:
        size = len(pictures.picture(1))
        same = [path for path in self._files("pictures") if path.stat().st_size == size]
        if not same:
            return None
        path = self._chance.choice(same)
        number = next(self._numbers)
        self._write(path, pictures.picture(number * 8 + 1))
        assert path.stat().st_size == size
        return self._said(path)

    def _remove_file(self) -> str | None:
        found = self._files("pictures", "scraped")
        if len(self._files("pictures")) < 4 or not found:
            return None
        path = self._chance.choice(found)
        self._removed.append((path, path.read_bytes()))
        path.unlink()
        return self._said(path)

    def _bring_back(self) -> str | None:
        if not self._removed:
            return None
        path, data = self._removed.pop(self._chance.randrange(len(self._removed)))
        if not path.parent.is_dir() and "pictures" not in path.parts:
            return None
        self._write(path, data)
        return self._said(path)

    def _rename(self) -> str | None:
        path = self._pick("pictures")
        if path is None:
            return None
        folder = self.root / "pictures" / self._chance.choice(ART_FOLDERS)
        target = folder / f"{next(self._numbers):03d} moved{path.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        return self._said(path, "to", target.relative_to(self.root))

    def _copy(self) -> str | None:
        path = self._pick("pictures", "scraped")
        if path is None:
            return None
        target = self.root / "pictures" / f"{next(self._numbers):03d} copy{path.suffix}"
        self._write(target, path.read_bytes())
        return self._said(path, "to", target.name)

    def _break(self) -> str | None:
        path = self._pick("pictures", "scraped", "comics")
        if path is None:
            return None
        data = path.read_bytes()
        if data:
            self._removed.append((path, data))
        self._write(path, pictures.broken(data, next(self._numbers)))
        return self._said(path)

    def _touch(self) -> str | None:
        path = self._pick("pictures", "scraped", "comics")
        if path is None:
            return None
        os.utime(path)
        return self._said(path)

    # ---- the catalogue

    def _products(self) -> list[dict[str, str]]:
        with (self.root / "products.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _write_products(self, rows: list[dict[str, str]]) -> None:
        with (self.root / "products.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, HEADER)
            writer.writeheader()
            writer.writerows(rows)

    def _address(self) -> str:
        """Of a picture of its own; every fifth server is busy at first."""
        number = next(self._numbers)
        path, served = f"/p/{number}.{pictures.kind_of(number)}", answer(pictures.picture(number))
        self._shop[path] = in_turn(status(503), served) if number % 5 == 0 else served
        return self._shop.url(path)

    def _title(self) -> str:
        return f"{self._chance.choice(WORDS)} {self._chance.choice(THINGS)} {next(self._numbers)}"

    def _price(self) -> str:
        return self._chance.choice(["9.99", "", "12", "0.5"])

    def _add_product(self) -> str:
        rows = self._products()
        name = f"P{next(self._numbers):03d}"
        given = dict(zip(HEADER, (name, "Acme", self._title(), self._price(), "things", self._address()), strict=True))
        rows.insert(self._chance.randint(0, len(rows)), given)
        if self._chance.random() < 0.2:
            rows.append({**given, "title": "says something else"})  # the first row of an id counts
        self._write_products(rows)
        return name

    def _some_product(self) -> tuple[list[dict[str, str]], dict[str, str]] | None:
        rows = self._products()
        return (rows, self._chance.choice(rows)) if len(rows) > 2 else None

    def _edit_product(self) -> str | None:
        found = self._some_product()
        if found is None:
            return None
        rows, row = found
        column = self._chance.choice(("title", "price", "image_url"))
        row[column] = {"title": self._title, "price": self._price, "image_url": self._address}[column]()
        self._write_products(rows)
        return f"{row['product_id']} {column}"

    def _remove_product(self) -> str | None:
        found = self._some_product()
        if found is None:
            return None
        rows, row = found
        self._write_products([each for each in rows if each["product_id"] != row["product_id"]])
        return row["product_id"]

    def _lose_picture_of_product(self) -> str | None:
        found = self._some_product()
        if found is None:
            return None
        rows, row = found
        missing = self._shop.url(f"/missing/{next(self._numbers)}.png")
        row["image_url"] = self._chance.choice(["", "NaN", missing])
        self._write_products(rows)
        return f"{row['product_id']} {row['image_url']}"

    # ---- scraped batches

    def _batches(self) -> list[Path]:
        return sorted((self.root / "scraped").glob("batch_*/batch.json"))

    def _add_batch(self) -> str:
        """New items, and some that an earlier batch has too, with a picture of now."""
        number = next(self._numbers)
        name = f"batch_2026{number // 28 % 12 + 1:02d}{number % 28 + 1:02d}_{number % 24:02d}0000_{number:06d}"
        known = [item for path in self._batches() for item in json.loads(path.read_bytes())["items"]]
        again = self._chance.sample(known, min(len(known), 2))
        items = [self._item(self.root / "scraped" / name, item["item_id"]) for item in again]
        items += [self._item(self.root / "scraped" / name, f"f-{next(self._numbers)}") for _ in range(2)]
        unique = {item["item_id"]: item for item in items}
        moment = f"2026-{number // 28 % 12 + 1:02d}-{number % 28 + 1:02d}T{number % 24:02d}:00:00.{number:06d}Z"
        self._write_batch(self.root / "scraped" / name / "batch.json", list(unique.values()), moment)
        return name

    def _item(self, folder: Path, name: str) -> dict[str, object]:
        paths = [f"images/{name}/{place}.jpg" for place in range(self._chance.randint(1, 2))]
        for path in paths:
            number = next(self._numbers) * 8 + 2
            self._write(folder / path, pictures.picture(number))
        said = {"item_id": name, "title": self._title(), "price": 5.0, "url": f"https://shop.example/{name}"}
        return {**said, "description": self._title(), "local_image_paths": paths}

    def _write_batch(self, path: Path, items: list[dict[str, object]], moment: str | None = None) -> None:
        moment = moment or json.loads(path.read_bytes())["scraped_at"]
        document = {"batch_id": path.parent.name, "category": "fashion", "scraped_at": moment, "items": items}
        self._write(path, json.dumps(document, indent=1).encode())

    def _some_batch(self) -> tuple[Path, list[dict[str, object]]] | None:
        found = [(path, json.loads(path.read_bytes())["items"]) for path in self._batches()]
        found = [(path, items) for path, items in found if items]
        return self._chance.choice(found) if found else None

    def _edit_item(self) -> str | None:
        found = self._some_batch()
        if found is None:
            return None
        path, items = found
        item = self._chance.choice(items)
        key = self._chance.choice(("title", "price", "description"))
        item[key] = float(self._chance.randint(1, 90)) if key == "price" else self._title()
        self._write_batch(path, items)
        return f"{item['item_id']} {key} in {path.parent.name}"

    def _remove_item(self) -> str | None:
        found = self._some_batch()
        if found is None:
            return None
        path, items = found
        item = items.pop(self._chance.randrange(len(items)))
        self._write_batch(path, items)
        return f"{item['item_id']} of {path.parent.name}"

    def _empty_batch(self) -> str | None:
        found = self._some_batch()
        if found is None or len(self._batches()) < 3:
            return None
        self._write_batch(found[0], [])
        return found[0].parent.name

    def _hide_batch(self) -> str | None:
        """A whole batch goes; it may return."""
        batches = self._batches()
        if len(batches) < 3:
            return None
        folder = self._chance.choice(batches).parent
        away = self.root / "away" / folder.name
        away.parent.mkdir(exist_ok=True)
        shutil.rmtree(away, ignore_errors=True)
        folder.rename(away)
        self._hidden.append(away)
        return folder.name

    def _return_batch(self) -> str | None:
        if not self._hidden:
            return None
        away = self._hidden.pop(self._chance.randrange(len(self._hidden)))
        away.rename(self.root / "scraped" / away.name)
        return away.name

    # ---- comics

    def _pages(self) -> list[Path]:
        return sorted((self.root / "comics").rglob("*.json"))

    def _add_page(self) -> str:
        book, number = self._chance.choice(("fox", "owl", "The Crow")), next(self._numbers)
        path = self.root / "comics" / book / f"p{number:03d}.json"
        self._write(path.with_suffix(".jpg"), pictures.page(number))
        panels = [self._panel() for _ in range(self._chance.randint(0, 3))]
        spec = {"page_image_path": f"E:\\lib\\{book}\\p{number:03d}.jpg", "panels": panels}
        self._write(path, json.dumps(spec, indent=1).encode())
        return self._said(path)

    def _panel(self) -> dict[str, object]:
        x, y = self._chance.randrange(0, 60), self._chance.randrange(0, 80)
        said = {"dialogue": [self._title()], "narration": [], "sfx": self._chance.choice([[], ["BOOM"]])}
        return {"panel_coords": [x, y, self._chance.randint(12, 36), self._chance.randint(12, 40)], "text": said}

    def _edit(self, act: Callable[[dict[str, object]], str | None]) -> str | None:
        pages = self._pages()
        if not pages:
            return None
        path = self._chance.choice(pages)
        spec = json.loads(path.read_bytes())
        said = act(spec)
        if said is not None:
            self._write(path, json.dumps(spec, indent=1).encode())
        return said and self._said(path, said)

    def _edit_page(self) -> str | None:
        def act(spec: dict[str, object]) -> str | None:
            panels = spec["panels"]
            assert isinstance(panels, list)
            kind = self._chance.choice(("dialogue", "box", "add", "drop"))
            if kind == "add" or not panels:
                panels.append(self._panel())
            elif kind == "drop":
                panels.pop(self._chance.randrange(len(panels)))
            else:
                key = "text" if kind == "dialogue" else "panel_coords"
                self._chance.choice(panels)[key] = self._panel()[key]
            return kind

        return self._edit(act)

    def _spoil_box(self) -> str | None:
        def act(spec: dict[str, object]) -> str | None:
            panels = spec["panels"]
            assert isinstance(panels, list)
            if not panels:
                return None
            self._chance.choice(panels)["panel_coords"] = [10, 10, 0, 0]
            return "spoilt"

        return self._edit(act)

    def _remove_page(self) -> str | None:
        pages = self._pages()
        if len(pages) < 2:
            return None
        path = self._chance.choice(pages)
        self._removed.append((path, path.read_bytes()))
        path.unlink()
        return self._said(path)

    # ---- settings

    def _change_background(self) -> str:
        self.background = next(each for each in BACKGROUNDS if each != self.background)
        self.write_settings()
        return self.background

    def _change_model(self) -> str | None:
        if len(self._models) < 2:
            return None
        self.clip = self._chance.choice([each for each in self._models if each != self.clip])
        self.write_settings()
        return self.clip

    def _toggle_old(self) -> str:
        """A source comes into the settings, or leaves them; what it left behind is then to be forgotten."""
        self.has_old = not self.has_old
        self.forgettable = not self.has_old
        self.write_settings()
        return "in" if self.has_old else "out"
