"""A process that is killed while it downloads: nothing that was had is fetched again."""

import random
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

from embeddings_dagster.settings_sources import DownloadSettings
from embeddings_dagster.sources.downloads import Downloads
from embeddings_dagster_tests import shop as shops
from embeddings_dagster_tests.shop import open_shop, tiny_png

PICTURES, KILLS, THREADS = 300, 5, 6
_RUN = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from embeddings_dagster.errors import ItemError
from embeddings_dagster.settings_sources import DownloadSettings
from embeddings_dagster.sources.downloads import Downloads

settings = DownloadSettings(private_hosts=["127.0.0.1"], retry_seconds=0.001, per_host={THREADS})
downloads = Downloads(Path(sys.argv[1]), settings)

def read(number):
    try:
        downloads.read(str(number), f"{{sys.argv[2]}}/many/{{number}}.png", 10_000)
    except ItemError:
        pass

with ThreadPoolExecutor({THREADS}) as pool:
    list(pool.map(read, range({PICTURES})))
"""


def _settled(folder: Path) -> set[str]:
    """The paths of which the record knows the end."""
    if not (folder / "urls.sqlite").exists():
        return set()
    with sqlite3.connect(folder / "urls.sqlite") as connection:
        try:
            found = connection.execute("SELECT url FROM urls WHERE file IS NOT NULL OR failure = 'DownloadRefused'")
        except sqlite3.OperationalError:  # killed before it had a table
            return set()
        return {"/many/" + url.rpartition("/")[2] for (url,) in found}


def test_each_address_is_asked_once_but_for_those_in_flight_at_a_kill(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    cache, log = tmp_path / "cache", tmp_path / "requests"
    with open_shop(log) as shop:
        for number in range(0, PICTURES, 10):
            shop[f"/many/{number}.png"] = shops.status(404)
        healing = {f"/many/{number}.png" for number in range(5, PICTURES, 10)}
        for path in healing:
            number = int(path.removeprefix("/many/").removesuffix(".png"))
            shop[path] = shops.in_turn(shops.status(503), shops.picture(tiny_png(number)))
        in_flight: Counter[str] = Counter()
        kills = sorted(dice.sample(range(1, PICTURES), KILLS))
        for requests in kills:
            process = subprocess.Popen([sys.executable, "-c", _RUN, str(cache), shop.url("")])
            shop.wait_for(requests)
            shop.closing.wait(dice.random() / 100)  # anywhere within a request
            process.kill()
            process.wait()
            shop.settle()
            in_flight.update(set(log.read_text().splitlines()) - _settled(cache))
        subprocess.run([sys.executable, "-c", _RUN, str(cache), shop.url("")], check=True)
        asked = Counter(log.read_text().splitlines())
        url = shop.url("/many/")
    assert len(asked) == PICTURES
    for path, times in asked.items():
        assert times <= 1 + in_flight[path] + (path in healing), f"{path} was asked for {times} times; seed {seed}"
    assert sum(in_flight.values()) <= KILLS * THREADS
    downloads = Downloads(cache, DownloadSettings(), download=False)
    for number in range(PICTURES):
        if number % 10:
            assert downloads.read(str(number), f"{url}{number}.png", 10_000) == tiny_png(number)
    assert len([each for each in cache.iterdir() if each.suffix == ".png"]) == PICTURES * 9 // 10
