"""What the catalogue of records costs: making it, keeping it in step, and asking it; on made-up products.

The records are written to raw_images as a stage writes them, in batches of a thousand; a refresh is the stage alone,
without Dagster, from changed manifests to committed generation. Queries are asked of one opened snapshot, in one
process and one thread; each figure is the median of several.

    python benchmarks/bench_catalog.py [--rows 100000] [--repeats 7]      writes docs/performance/catalog.md
"""

import argparse
import json
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from embeddings_dagster.catalog import WHOLE, Catalogue, Cursor, Filter, Snapshot
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.catalog import CatalogReport, refresh_catalog
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.store import PartLimits, Store
from embeddings_dagster.store.tables import RAW

REPORT = Path(__file__).resolve().parent.parent / "docs" / "performance" / "catalog.md"
BATCH = 1000
WORDS = [f"w{number}" for number in range(5000)] + ["shirt", "red", "jacket"]


def record(chance: random.Random, number: int) -> dict[str, object]:
    """A product with ten fields: about 500 bytes of JSON."""
    return {
        "title": " ".join(chance.choices(WORDS, k=6)),
        "brand": f"Brand {chance.randrange(800)}",
        "price": round(chance.expovariate(1 / 40), 2),
        "category": chance.choice(["Shoes", "Shirts", "Coats", "Hats", "Bags"]),
        "size": chance.choice(["S", "M", "L", "XL", "42", "43"]),
        "rating": chance.choice([1, 2, 3, 4, 5]),
        "url": f"https://example.org/p/{number}",
        "description": " ".join(chance.choices(WORDS, k=30)),
        "colours": chance.sample(["red", "blue", "green", "black"], 2),
        "currency": "EUR",
    }


def write(store: Store, batch: int, rows: int, *, changed: int = 0) -> None:
    """Bring a batch of raw_images to `rows` records, of which the first `changed` say something new."""
    chance = random.Random(batch)
    writer = store.chain("raw_images", f"shop__{batch:06d}").writer(
        RAW, run_id="bench", label={}, limits=PartLimits(BATCH, 2**30, 1e9)
    )
    for number in range(batch * BATCH, batch * BATCH + rows):
        metadata = record(chance, number)
        new = number - batch * BATCH < changed
        if changed and not new:
            continue
        metadata |= {"title": f"{metadata['title']} changed"} if new else {}
        local_id = f"{number:08d}"
        row = {"image_id": f"shop:{local_id}", "input_hash": f"{number}-{new}", "item_id": local_id, "ordinal": 0}
        place = {"batch": f"shop__{batch:06d}", "location": f"https://example.org/{number}.jpg", "run_id": "bench"}
        said = {"width": 800, "height": 600, "regions": [], "metadata": json.dumps(metadata, sort_keys=True)}
        writer.add([{**row, **place, **said}])
    writer.finish(inputs={}, total=rows)


def queries(rows: int) -> dict[str, Callable[[Snapshot], object]]:
    """What is asked, by what it is called in the report."""
    cheap, late = Filter(["price<=20"]), Cursor(f"shop:{rows * 9 // 10:08d}", 0)
    return {
        "first page of everything": lambda s: s.find(),
        "a page far back": lambda s: s.find(after=late),
        "`brand=…` (1 in 800)": lambda s: s.find(Filter(["brand=brand 7"])),
        "`price<=20` (40 %)": lambda s: s.find(cheap),
        "`price=10..20` and `brand in` three": lambda s: s.find(
            Filter(["price=10..20", "brand in Brand 1,Brand 2,Brand 3"])
        ),
        "`title~shirt`": lambda s: s.find(Filter(["title~shirt"])),
        "`description~shirt` (long texts, read)": lambda s: s.find(Filter(["description~shirt"])),
        "`location~…` (a column, read)": lambda s: s.find(Filter(["location~9999.jpg"])),
        "a rare pair of words": lambda s: s.find(Filter(text="w17 w400")),
        "a word of 0.7 % of the rows": lambda s: s.find(Filter(text="shirt")),
        "that word and `price<=20`": lambda s: s.find(Filter(["price<=20"], text="shirt")),
        "a word of every row": lambda s: s.find(Filter(text="eur")),
        "count of `price<=20`": lambda s: s.count(cheap),
        "facet of 800 brands": lambda s: s.facets("brand", Filter(regions=WHOLE)),
        "facet of brands where `category=Shirts` (20 %)": lambda s: s.facets("brand", Filter(["category=Shirts"])),
        "facet of brands for a word": lambda s: s.facets("brand", Filter(text="shirt")),
        "facet of titles, each its own": lambda s: s.facets("title"),
        "all keys where `category=Shirts`": lambda s: list(s.keys(Filter(["category=Shirts"]))),
        "all keys": lambda s: list(s.keys()),
    }


def refreshes(store: Store, rows: int) -> Iterator[tuple[str, CatalogReport, float]]:
    """Each kind of refresh: what it is called, what it did, and its seconds."""
    context = StageContext(Settings(data=store.root, cache=str(store.cache)), store, "bench")

    def timed(what: str) -> tuple[str, CatalogReport, float]:
        started = time.perf_counter()
        return what, refresh_catalog(context), time.perf_counter() - started

    yield timed("from nothing")
    yield timed("nothing changed")
    for batch in range(0, rows // BATCH, 10):
        write(store, batch, BATCH, changed=BATCH // 10)
    yield timed("1 % changed, in 10 % of the batches")


def report(rows: int, size: int, done: list[tuple[str, CatalogReport, float]], asked: dict[str, float]) -> str:
    lines = [
        "# The catalogue of records, measured",
        "",
        f"Made by `benchmarks/bench_catalog.py`: {rows:,} made-up products of ten fields in batches of {BATCH:,}; a "
        f"file of {size / 1e6:.0f} MB. {platform.machine()}, one thread; Python {platform.python_version()}, SQLite "
        f"{sqlite3.sqlite_version}.",
        "",
        "| refresh | seconds | batches read | MB written |",
        "|---|--:|--:|--:|",
        *(
            f"| {what} | {took:.2f} | {said.batches_read} | {said.bytes_written / 1e6:.0f} |"
            for what, said, took in done
        ),
        "",
        "| query | ms |",
        "|---|--:|",
        *(f"| {what} | {took * 1000:.1f} |" for what, took in asked.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=REPORT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(os.path.join(folder, "data"), Path(folder) / "cache")
        for batch in range(arguments.rows // BATCH):
            write(store, batch, BATCH)
        done = list(refreshes(store, arguments.rows))
        asked = {}
        with Catalogue(store).open() as snapshot:
            for what, ask in queries(arguments.rows).items():
                took = []
                for _ in range(arguments.repeats):
                    started = time.perf_counter()
                    ask(snapshot)
                    took.append(time.perf_counter() - started)
                asked[what] = statistics.median(took)
            text = report(arguments.rows, snapshot.manifest.bytes, done, asked)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
