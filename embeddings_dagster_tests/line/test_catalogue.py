"""A catalogue of thousands of rows against a shop on this machine, killed again and again: fetched once, all accounted.

No model: what is proven here ends with `rgb_images`.
"""

import csv
import json
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from embeddings_dagster.settings import load_settings
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import Store
from embeddings_dagster_tests.cli.command import COMMAND, environment, run
from embeddings_dagster_tests.shop import Shop, in_turn, open_shop, picture, status, tiny_png

SEED = 20261121
CONCURRENCY = 8
KILLS = 5
SETTINGS = f"""\
batch_images: 4096
sources:
  shop:
    kind: catalog
    path: products.csv
    download:
      private_hosts: [127.0.0.1]
      concurrency: {CONCURRENCY}
      per_host: {CONCURRENCY}
      retry_seconds: 0.01
models: {{}}
"""
HEADER = ["product_id", "brand", "title", "price", "category", "rating", "image_url", "product_url"]
BUSY, MISSING = 50, 101  # every so manieth product's server says 503 first; and has no such picture


PRICES = {"9.99": 9.99, "": None, "12,50": 12.5, "n/a": None, "-1": None, "1e3": 1000.0, "0.01": 0.01}


@dataclass
class Told:
    """What a catalogue says: by id the address ("" where there is none) and price of the row that counts, and how many
    later rows say something else."""

    urls: dict[str, str] = field(default_factory=dict)
    prices: dict[str, float | None] = field(default_factory=dict)
    conflicts: int = 0


def write_catalogue(root: Path, base: str, rows: int, repeats: int) -> Told:
    """products.csv with `rows` rows, `repeats` of them with ids that other rows have too."""
    chance = random.Random(SEED)
    products = [_product(number, base, chance) for number in range(rows - repeats)]
    again = [dict(chance.choice(products)) for _ in range(repeats)]
    for row in again[::3]:
        row["price"] = "0.01"  # a row that contradicts the first one
    listed = [*products, *again]
    chance.shuffle(listed)
    with (root / "products.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEADER)
        writer.writeheader()
        writer.writerows(listed)
    told = Told()
    for row in listed:
        product, url, price = row["product_id"], row["image_url"], PRICES[row["price"]]
        if product in told.urls:
            told.conflicts += price != told.prices[product]
        else:
            told.urls[product] = "" if url.strip() in ("", "NaN", "nan") else url
            told.prices[product] = price
    return told


def _product(number: int, base: str, chance: random.Random) -> dict[str, str]:
    kind = "busy" if number % BUSY == 7 else "missing" if number % MISSING == 11 else "many"
    blank = chance.choice(["", "NaN", "nan", "  "]) if number % 97 == 5 else None
    return {
        "product_id": f"P{number:05d}",
        "brand": chance.choice(["Acme", "Umbrella", "", "Größe & Söhne"]),
        "title": f'Thing "{number}", large',
        "price": chance.choice([price for price in PRICES if price != "0.01"]),
        "category": "things",
        "rating": chance.choice(["4.5", "", "NaN"]),
        "image_url": blank if blank is not None else f"{base}/{kind}/{number}.png",
        "product_url": f"{base}/p/{number}",
    }


def kill_after(root: Path, shop: Shop, requests: int) -> dict[str, int]:
    """Start a run and kill it when the shop has had so many more requests. By path: how often each was asked for whose
    answer was on record then, so that nobody may ask again."""
    target = sum(shop.counts.values()) + requests
    with (root / "killed.log").open("ab") as log:
        process = subprocess.Popen([COMMAND, "run"], cwd=root, env=environment(), stdout=log, stderr=log)
        while process.poll() is None and sum(shop.counts.values()) < target:
            time.sleep(0.005)
        assert process.poll() is None, "a run came to its end before it was killed"
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    shop.settle()
    asked = dict(shop.counts)
    record = root / "data" / "image_cache" / "shop" / "urls.sqlite"
    with closing(sqlite3.connect(record)) as connection:
        known = connection.execute("SELECT url FROM urls WHERE file IS NOT NULL OR failure = 'DownloadRefused'")
        settled = {url.removeprefix(shop.url("")) for (url,) in known}
    assert settled <= asked.keys()
    in_flight = [path for path in asked.keys() - settled if not path.startswith("/busy/")]
    assert len(in_flight) <= CONCURRENCY
    return {path: asked[path] for path in settled}


@pytest.mark.parametrize(
    ("rows", "repeats"),
    [(1300, 180), pytest.param(13_000, 1_800, marks=pytest.mark.torture)],
    ids=["small", "full"],
)
def test_a_catalogue_killed_five_times_is_fetched_once_and_accounted_to_the_row(
    tmp_path: Path, rows: int, repeats: int
) -> None:
    with open_shop(tmp_path / "requests.log") as shop:
        told = write_catalogue(tmp_path, shop.url(""), rows, repeats)
        urls = told.urls
        for url in urls.values():
            if "/busy/" in url:
                path = url.removeprefix(shop.url(""))
                shop[path] = in_turn(status(503), picture(tiny_png(int(path[6:-4]))))
        (tmp_path / "embeddings.yaml").write_text(SETTINGS)
        moments = random.Random(SEED)
        print(f"seed {SEED}")
        share = len(urls) // (KILLS + 2)  # of the requests, between two kills
        settled = [kill_after(tmp_path, shop, moments.randrange(share // 4, share)) for _ in range(KILLS)]
        assert len(settled[0]) < len(settled[-1]), "each run goes on where the last was killed"
        done = run("run", "--json", cwd=tmp_path, timeout=900)
        assert done.returncode == 0, done.stderr
        again = run("run", "--json", cwd=tmp_path, timeout=900)
        assert json.loads(again.stdout)["runs"] == []
        paths = {url.removeprefix(shop.url("")) for url in urls.values() if url}
    assert_fetched_once(tmp_path, paths, settled)
    assert_accounted(tmp_path, json.loads(done.stdout), told, rows, repeats)
    assert_own_picture(tmp_path, urls)


def assert_fetched_once(root: Path, paths: set[str], settled: list[dict[str, int]]) -> None:
    """But for those in flight at a kill, and one more for each that asked to be tried again."""
    asked = Counter((root / "requests.log").read_text().splitlines())
    assert asked.keys() == paths
    for before in settled:
        assert {path: asked[path] for path in before} == before, "an address whose answer was on record was asked again"
    too_often = sum(count - (2 if path.startswith("/busy/") else 1) for path, count in asked.items())
    busy_cut_short = sum(asked[path] < 2 for path in paths if path.startswith("/busy/"))
    assert busy_cut_short == 0
    assert too_often <= KILLS * CONCURRENCY


def assert_accounted(root: Path, report: dict, told: Told, rows: int, repeats: int) -> None:
    [source] = report["sources"]
    urls = told.urls
    blank = {f"shop:{each}" for each, url in urls.items() if not url}
    missing = {f"shop:{each}" for each, url in urls.items() if "/missing/" in url}
    assert len(blank) > 10 < len(missing)
    assert source["total"] == len(urls) == rows - repeats
    assert source["failed"] == len(blank | missing)
    assert source["processed"] + source["skipped"] == source["total"] - source["failed"]
    assert source["discovery"]["ignored"] == {"repeated id": repeats}
    reasons = [each["reason"] for each in source["discovery"]["problems"]]
    assert sum("repeats the id" in reason and "price" in reason for reason in reasons) == told.conflicts > 50
    assert any("'-1' is below 0" in reason for reason in reasons)
    settings = load_settings(root / "embeddings.yaml")
    store = Store.open(settings.data_root, settings.cache_root)
    failures, made = {}, {}
    for batch in store.batches("raw_images"):
        chain = store.chain("raw_images", batch)
        newest = chain.latest()
        failures |= {each.image_id: each.error_class for each in chain.failures(newest)}
        for row in chain.rows(newest, ["image_id", "metadata", "location"]).to_pylist():
            made[row["image_id"]] = row
    assert {image for image, error in failures.items() if error == "NoPicture"} == blank
    assert {image for image, error in failures.items() if error == "DownloadRefused"} == missing
    assert made.keys() == {f"shop:{each}" for each in urls} - failures.keys()
    assert {image: row["location"] for image, row in made.items()} == {image: urls[image[5:]] for image in made}
    prices = {image: json.loads(row["metadata"]).get("price") for image, row in made.items()}
    assert prices == {image: told.prices[image[5:]] for image in made}, "the first row of an id counts"
    assert verify(store) == []


def assert_own_picture(root: Path, urls: dict[str, str]) -> None:
    """In the cache and in rgb_images, each picture is the very one that its product's address leads to."""
    settings = load_settings(root / "embeddings.yaml")
    store = Store.open(settings.data_root, settings.cache_root)
    folder = settings.image_cache("shop")
    expected = {
        product: tiny_png(int(url.rpartition("/")[2].removesuffix(".png")))
        for product, url in urls.items()
        if "/many/" in url or "/busy/" in url
    }
    pixels: dict[str, bytes] = {}
    for batch in store.batches("rgb_images"):
        chain = store.chain("rgb_images", batch)
        for row in chain.rows(chain.latest(), ["image_id", "image"]).to_pylist():
            pixels[row["image_id"].removeprefix("shop:")] = row["image"]["bytes"]
    assert pixels == expected
    assert {path.stem: path.read_bytes() for path in folder.glob("*.png")} == expected
