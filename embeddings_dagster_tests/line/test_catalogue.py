"""A catalogue of thousands of rows against a shop on this machine, killed again and again: fetched once, all accounted.

No model: what is proven here ends with `rgb_images`.
"""

import csv
import json
import random
import signal
import subprocess
import time
from collections import Counter
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


def write_catalogue(root: Path, base: str, rows: int, repeats: int) -> dict[str, str]:
    """products.csv with `rows` rows, `repeats` of them ids that were there before; returns url by id, "" for blanks."""
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
    urls: dict[str, str] = {}
    for row in listed:
        url = row["image_url"]
        urls.setdefault(row["product_id"], "" if url.strip() in ("", "NaN", "nan") else url)
    return urls


def _product(number: int, base: str, chance: random.Random) -> dict[str, str]:
    kind = "busy" if number % BUSY == 7 else "missing" if number % MISSING == 11 else "many"
    blank = chance.choice(["", "NaN", "nan", "  "]) if number % 97 == 5 else None
    return {
        "product_id": f"P{number:05d}",
        "brand": chance.choice(["Acme", "Umbrella", "", "Größe & Söhne"]),
        "title": f'Thing "{number}", large',
        "price": chance.choice(["9.99", "", "12,50", "n/a", "-1", "1e3"]),
        "category": "things",
        "rating": chance.choice(["4.5", "", "NaN"]),
        "image_url": blank if blank is not None else f"{base}/{kind}/{number}.png",
        "product_url": f"{base}/p/{number}",
    }


def kill_after(root: Path, shop: Shop, requests: int) -> bool:
    """Start a run and kill it when the shop has had so many more requests; whether it was still going."""
    target = sum(shop.counts.values()) + requests
    with (root / "killed.log").open("ab") as log:
        process = subprocess.Popen([COMMAND, "run"], cwd=root, env=environment(), stdout=log, stderr=log)
        while process.poll() is None and sum(shop.counts.values()) < target:
            time.sleep(0.005)
        if process.poll() is not None:
            return False
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        return True


@pytest.mark.parametrize(
    ("rows", "repeats"),
    [(2600, 360), pytest.param(13_000, 1_800, marks=pytest.mark.torture)],
    ids=["small", "full"],
)
def test_a_catalogue_killed_five_times_is_fetched_once_and_accounted_to_the_row(
    tmp_path: Path, rows: int, repeats: int
) -> None:
    with open_shop(tmp_path / "requests.log") as shop:
        urls = write_catalogue(tmp_path, shop.url(""), rows, repeats)
        for url in urls.values():
            if "/busy/" in url:
                path = url.removeprefix(shop.url(""))
                shop[path] = in_turn(status(503), picture(tiny_png(int(path[6:-4]))))
        (tmp_path / "embeddings.yaml").write_text(SETTINGS)
        moments = random.Random(SEED)
        print(f"seed {SEED}")
        share = len(urls) // (KILLS + 2)  # of the requests, between two kills
        killed = [kill_after(tmp_path, shop, moments.randrange(share // 4, share)) for _ in range(KILLS)]
        assert all(killed), "a run came to its end before it was killed"
        done = run("run", "--json", cwd=tmp_path, timeout=900)
        assert done.returncode == 0, done.stderr
        again = run("run", "--json", cwd=tmp_path, timeout=900)
        assert json.loads(again.stdout)["runs"] == []
        paths = {url.removeprefix(shop.url("")) for url in urls.values() if url}
    assert_fetched_once(tmp_path, paths)
    assert_accounted(tmp_path, json.loads(done.stdout), urls, rows, repeats)
    assert_catalogue_order(tmp_path, urls)


def assert_fetched_once(root: Path, paths: set[str]) -> None:
    """But for those in flight at a kill, and one more for each that asked to be tried again."""
    asked = Counter((root / "requests.log").read_text().splitlines())
    assert asked.keys() == paths
    too_often = sum(count - (2 if path.startswith("/busy/") else 1) for path, count in asked.items())
    busy_cut_short = sum(asked[path] < 2 for path in paths if path.startswith("/busy/"))
    assert busy_cut_short == 0
    assert too_often <= KILLS * CONCURRENCY


def assert_accounted(root: Path, report: dict, urls: dict[str, str], rows: int, repeats: int) -> None:
    [source] = report["sources"]
    blank = {f"shop:{each}" for each, url in urls.items() if not url}
    missing = {f"shop:{each}" for each, url in urls.items() if "/missing/" in url}
    assert len(blank) > 10 < len(missing)
    assert source["total"] == len(urls) == rows - repeats
    assert source["failed"] == len(blank | missing)
    assert source["processed"] + source["skipped"] == source["total"] - source["failed"]
    assert source["discovery"]["ignored"] == {"repeated id": repeats}
    assert any("price" in each["reason"] for each in source["discovery"]["problems"])
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
    assert all(row["location"] == urls[image.removeprefix("shop:")] for image, row in made.items())
    assert verify(store) == []


def assert_catalogue_order(root: Path, urls: dict[str, str]) -> None:
    """Each cached picture is the very one that its product's address leads to."""
    folder = root / "data" / "image_cache" / "shop"
    for product, url in list(urls.items())[:500]:
        if "/many/" in url or "/busy/" in url:
            number = int(url.rpartition("/")[2].removesuffix(".png"))
            assert (folder / f"{product}.png").read_bytes() == tiny_png(number)
