"""A project of all kinds of sources, changed at random, and what its stages have to say of it, told from the input
files alone: nothing of the product counts here.
"""

import io
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from embeddings_dagster.exports import Wanted, export_npy
from embeddings_dagster.settings import settings_from
from embeddings_dagster.settings_yaml import Document
from embeddings_dagster.stages.catalog import refresh_catalog
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.stages.statistics import Statistics
from embeddings_dagster.store import Store
from embeddings_dagster_tests.stages.toy_engine import FAILS, ToyEngine

BATCHES = ("batch_20260101_000000", "batch_20260201_000000", "batch_20260301_000000")
GOOD, MISSING, GARBAGE, TRUNCATED = "good", "missing", "garbage", "truncated"
SETTINGS = {
    "batch_images": 4,
    "sources": {
        "shop": {"kind": "scraped", "path": "scraped", "text": ["title"]},
        "books": {"kind": "comics", "path": "specs", "images": "pages", "batches": "book"},
        "pics": {"kind": "folder", "path": "pics"},
        "list": {"kind": "catalog", "path": "products.csv", "download": {"enabled": False}},
    },
    "models": {
        "clip": {"kind": "clip", "model": "bundled:clip", "device": "cpu"},
        "dino": {"kind": "dino", "model": "bundled:dino", "device": "cpu"},
    },
}  # fmt: skip

Counts = tuple[int, int, int, int]  # total, made or there, failed, placed in an index


@dataclass
class Shot:
    """A picture, as the test made it: its kind, its text, and of its panels which have a box."""

    kind: str
    text: bool = False
    panels: tuple[bool, ...] = ()


@dataclass
class CountedWorld:
    """`change` does something to the inputs, `run` brings everything up to date, `expected` counts the inputs."""

    root: Path
    chance: random.Random
    engine: ToyEngine = field(default_factory=ToyEngine)
    clock: int = 10**18
    runs: int = 0
    items: dict[str, list[object]] = field(default_factory=dict)  # of each scraped batch, as written
    shots: dict[str, dict[str, Shot]] = field(default_factory=dict)  # by batch key: what each image id is
    rows: list[str] = field(default_factory=list)  # lines of the catalogue: an id, or blank
    other_files: int = 0

    def __post_init__(self) -> None:
        for folder in ("scraped", "specs/Foo", "pages", "pics"):
            (self.root / folder).mkdir(parents=True)
        settings = settings_from(Document("embeddings.yaml", SETTINGS, {}), root=self.root)
        self.context = StageContext(settings, Store.open(settings.data_root, settings.cache_root), "none")
        self.picture("pages/stray.png", GOOD)
        for batch in BATCHES[:2]:
            self.scrape(batch)
        self.draw()
        self.list_products()
        for _ in range(3):
            self.drop_in()

    # what happens to the inputs

    def change(self) -> str:
        """One thing, at random; returns what."""
        happening = self.chance.choice((self.scrape, self.draw, self.drop_in, self.take_out, self.list_products))
        happening()
        return happening.__name__

    def scrape(self, batch: str = "") -> None:
        """Write a scraped batch anew: items with several pictures, some listed again, some not items at all."""
        batch = batch or self.chance.choice(BATCHES)
        folder = self.root / "scraped" / batch
        shutil.rmtree(folder, ignore_errors=True)
        items: list[object] = []
        shots: dict[str, Shot] = {}
        for name in self.chance.sample([f"i{number}" for number in range(6)] + ["u1", "u2"], 5):
            kinds = [self.kind() for _ in range(self.chance.choice((0, 1, 1, 2)))]
            titled = self.chance.random() < 0.6
            paths = [f"images/{name}/{ordinal}.png" for ordinal in range(len(kinds))]
            for path, kind in zip(paths, kinds, strict=True):
                self.picture(f"scraped/{batch}/{path}", kind)
            item = {"item_id": name, "price": 1, "url": "https://x.example", "local_image_paths": paths}
            items.append({**item, "title": f"{name} in {batch}"} if titled else item)
            for ordinal, kind in enumerate(kinds or [MISSING]):
                shots[f"shop:{name}#{ordinal}" if ordinal else f"shop:{name}"] = Shot(kind, titled)
        items += self.chance.sample([items[0], {**items[1], "price": 2}, "junk", 7, {"title": "nameless"}], 2)  # type: ignore[dict-item]
        self.write(f"scraped/{batch}/batch.json", json.dumps({"items": items, "scraped_at": when(batch)}).encode())
        self.items[batch], self.shots[f"shop__{batch}"] = items, shots

    def draw(self) -> None:
        """Write a page and its spec anew, with panels of which some have no box."""
        name = self.chance.choice("abc")
        kind = self.kind()
        boxes = tuple(self.chance.random() < 0.7 for _ in range(self.chance.randrange(4)))
        panels = [{"bbox": [1, 1, 9, 9], "text": "Hi"} if box else {"text": "no box"} for box in boxes]
        self.write(
            f"specs/Foo/{name}.json", json.dumps({"page_image_path": f"Foo/{name}.png", "panels": panels}).encode()
        )
        self.picture(f"pages/Foo/{name}.png", kind)
        self.shots.setdefault("books__Foo", {})[f"books:Foo/{name}.json"] = Shot(kind, False, boxes)

    def drop_in(self) -> None:
        """A file more in the folder, a picture or not."""
        name = f"{self.chance.choice('kuv')}{self.chance.randrange(9)}.png"
        kind = self.chance.choice((GOOD, GOOD, GARBAGE, TRUNCATED))
        self.picture(f"pics/{name}", kind)
        if self.chance.random() < 0.3:
            self.write(f"pics/note{self.other_files}.txt", b"no picture by its name")
            self.other_files += 1

    def take_out(self) -> None:
        """A file less, or a batch less."""
        files = sorted((self.root / "pics").glob("*.png"))
        if len(files) > 1:
            self.chance.choice(files).unlink()
        elif len(self.items) > 1:
            batch = self.chance.choice(sorted(self.items))
            shutil.rmtree(self.root / "scraped" / batch)
            del self.items[batch]
            self.shots[f"shop__{batch}"] = {}

    def list_products(self) -> None:
        """Write the catalogue anew: ids listed again, and blank rows; no picture of it can be fetched."""
        self.rows = [self.chance.choice(("p1", "p2", "p3", "")) for _ in range(6)] + ["p4"]
        lines = [f"{name},https://x.example/{name}.png" if name else "," for name in self.rows]
        self.write("products.csv", "\n".join(["id,image_url", *lines, ""]).encode())

    def kind(self) -> str:
        return self.chance.choice((GOOD, GOOD, GOOD, MISSING, GARBAGE, TRUNCATED))

    def picture(self, path: str, kind: str) -> None:
        """A picture, most of one, something else, or nothing."""
        data = io.BytesIO()
        pixels = np.frombuffer(self.chance.randbytes(24 * 24 * 3), np.uint8).reshape(24, 24, 3)
        Image.fromarray(pixels).save(data, "PNG")
        if kind == MISSING:
            (self.root / path).unlink(missing_ok=True)
        else:
            whole = data.getvalue()
            self.write(path, {GOOD: whole, TRUNCATED: whole[: len(whole) // 2], GARBAGE: b"no picture"}[kind])

    def write(self, path: str, data: bytes) -> None:
        """A file, with a time that no coarse clock takes for that of the one before."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        self.clock += 10**9
        os.utime(file, ns=(self.clock, self.clock))
        if path.startswith("pics/") and path.endswith(".png"):
            kind = GARBAGE if data == b"no picture" else GOOD if data.endswith(b"IEND\xaeB`\x82") else TRUNCATED
            self.kinds[file.name] = kind

    @property
    def kinds(self) -> dict[str, str]:
        return self.__dict__.setdefault("_kinds", {})

    # what the product says

    def run(self) -> Iterator[Statistics]:
        """Bring everything up to date, as `embeddings run` does; every statistics on the way."""
        self.runs += 1
        context = replace(self.context, run_id=f"run-{self.runs}", retry_failed=self.chance.random() < 0.3)
        for name in context.settings.sources:
            found = discover(context, name, wait=True, allow_removals=True)
            assert found.listing is not None
            yield found.listing
            yield found.statistics
            for batch in found.manifest.batches:
                yield run_raw(context, batch)
                yield run_rgb(context, batch)
                for space, model in context.settings.spaces.items():
                    yield run_embed(context, space, model, self.engine, batch)
        indexes = {space: refresh_index(context, space) for space in context.settings.spaces}
        yield from (each.statistics for each in indexes.values())
        yield refresh_catalog(context).statistics
        if indexes["dino"].rows:
            yield export_npy(context, Wanted(model="dino"), self.root / f"out{self.runs}").statistics

    # what the inputs say

    def listed(self) -> dict[str, tuple[int, int]]:
        """Of each source, how many things it lists, and how many of them are items."""
        shop = [each for items in self.items.values() for each in items]
        names = [
            (batch, each["item_id"])
            for batch, items in self.items.items()
            for each in items
            if isinstance(each, dict) and "item_id" in each
        ]
        pics = list((self.root / "pics").iterdir())
        specs = list((self.root / "specs").rglob("*.json"))
        return {
            "shop": (len(shop), len(set(names))),
            "books": (len(specs), len(specs)),
            "pics": (len(pics), sum(file.suffix == ".png" for file in pics)),
            "list": (len(self.rows), len({name for name in self.rows if name})),
        }

    def images(self) -> dict[str, dict[str, Shot]]:
        """By source: every image in every batch that has it, by `batch image`."""
        pics = {f"pics:{file.name}": Shot(self.kinds[file.name]) for file in (self.root / "pics").glob("*.png")}
        products = {f"list:{name}": Shot(MISSING) for name in self.rows if name}
        found: dict[str, dict[str, Shot]] = {"shop": {}, "books": {}}
        for batch, shots in self.shots.items():
            found[batch.partition("__")[0]] |= {f"{batch} {image}": shot for image, shot in shots.items()}
        return {**found, "pics": {f"pics {key}": shot for key, shot in pics.items()},
                "list": {f"list {key}": shot for key, shot in products.items()}}  # fmt: skip

    def expected(self) -> dict[tuple[str, str], Counts]:
        """What each stage has to come to, by (stage, source); indexes and the catalogue by (stage, nothing)."""
        found: dict[tuple[str, str], Counts] = {}
        offers: dict[str, dict[str, dict[str, tuple[int, bool]]]] = {}  # space, image, batch: rows, and none failed
        pictured: dict[str, set[str]] = {}
        for source, shots in self.images().items():
            raw = {key: shot for key, shot in shots.items() if shot.kind in (GOOD, TRUNCATED)}
            found["raw_images", source] = (len(shots), len(raw), len(shots) - len(raw), 0)
            for key in raw:
                pictured.setdefault(key.split(" ")[1], set()).add(key.split(" ")[0])
            regions = sum(1 + len(shot.panels) for shot in raw.values())
            whole = {key: shot for key, shot in raw.items() if shot.kind == GOOD}
            rgb = sum(1 + sum(shot.panels) for shot in whole.values())
            found["rgb_images", source] = (regions, rgb, regions - rgb, 0)
            for space in ("clip", "dino"):
                made = {key: shot for key, shot in whole.items() if FAILS not in key}
                rows = sum(1 + sum(shot.panels) for shot in made.values())
                found[f"{space}_embeddings", source] = (rgb, rows, rgb - rows, 0)
                for key, shot in made.items():
                    batch, image = key.split(" ")
                    offers.setdefault(space, {}).setdefault(image, {})[batch] = (1 + sum(shot.panels), True)
            texts = {key: shot.text + sum(shot.panels) for key, shot in whole.items()}
            found["clip_text_embeddings", source] = (sum(texts.values()), sum(texts.values()), 0, 0)
            for key, count in texts.items():
                batch, image = key.split(" ")
                if count:
                    offers.setdefault("clip_text", {}).setdefault(image, {})[batch] = (count, True)
        for space, images in offers.items():
            total = sum(rows for batches in images.values() for rows, _ in batches.values())
            placed = sum(batches[max(batches)][0] for batches in images.values())
            found[f"{space}_index", ""] = (total, total, 0, placed)
        total = sum(map(len, pictured.values()))
        found["search_catalog", ""] = (total, total, 0, len(pictured))
        return found


def when(batch: str) -> str:
    return f"2026-{batch[10:12]}-01T00:00:00"


def totals(said: list[Statistics]) -> dict[tuple[str, str], Counter[str]]:
    """Each stage summed over the batches of a source."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for each in said:
        counts = {name: getattr(each, name) for name in ("total", "processed", "skipped", "failed")}
        key = (each.stage, each.where.partition("__")[0])
        found.setdefault(key, Counter()).update({**counts, "superseded": each.reasons.get("superseded", 0)})
    return found
