"""The real line with secrets in every place where they could be: none of them is printed, logged, or kept anywhere but
where the pictures are fetched from."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from embeddings_dagster_tests.cli.command import run
from embeddings_dagster_tests.shop import open_shop, picture, redirect, status, tiny_png

PASSWORD, SIGNATURE, TOKEN = "pa55-of-anna", "51gnature-of-a-url", "t0ken-of-a-query"
KEY, HUB, OTHER = "aws-secr3t-key", "hf-t0ken", "0ther-secret"
SECRETS = (PASSWORD, SIGNATURE, TOKEN, KEY, HUB, OTHER)
ENVIRONMENT = {"AWS_SECRET_ACCESS_KEY": KEY, "HF_TOKEN": HUB, "DATABASE_PASSWORD": OTHER, "HF_HUB_OFFLINE": "1"}
SETTINGS = """\
sources:
  shop:
    kind: catalog
    path: products.csv
    download: {private_hosts: [127.0.0.1], retries: 0}
models:
  clip: {kind: clip, model: bundled:clip, device: cpu}
"""
QUERY = f"X-Amz-Signature={SIGNATURE}&token={TOKEN}"
# What a picture is fetched with has to be kept, for the next run to fetch it again: in the ledger, in raw_images and in
# the record of the cache.
KEPT = ("products.csv", "data/sources/", "data/raw_images/", "data/image_cache/shop/urls.sqlite")


class Line:
    """A project that ran once, and what its commands said."""

    def __init__(self, root: Path, place: str) -> None:
        self.root, self.place = root, place
        self.said: dict[str, str] = {}

    def ask(self, *arguments: str) -> None:
        done = run(*arguments, cwd=self.root, timeout=300, **ENVIRONMENT)
        assert done.returncode == 0, done.stdout + done.stderr
        self.said[" ".join(arguments)] = done.stdout + done.stderr


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    root = tmp_path_factory.mktemp("secrets")
    with open_shop() as shop:
        line = Line(root, f"127.0.0.1:{shop.port}")
        shop["/gone.png"] = status(404)
        shop["/text.png"] = picture(b"<html>")
        shop["/away.png"] = redirect(f"ftp://anna:{PASSWORD}@example.com/?{QUERY}")
        names = ["many/1.png", "many/2.png", "gone.png", "text.png", "away.png"]
        urls = [f"http://anna:{PASSWORD}@{line.place}/{name}?{QUERY}#access_token={TOKEN}" for name in names]
        urls.append(f"ftp://anna:{PASSWORD}@{line.place}/a.png?{QUERY}")
        shop["/many/1.png"], shop["/many/2.png"] = picture(tiny_png(1)), picture(tiny_png(2))
        rows = [f"{number},title {number},{url}\n" for number, url in enumerate(urls)]
        (root / "products.csv").write_text("product_id,title,image_url\n" + "".join(rows))
        (root / "embeddings.yaml").write_text(SETTINGS)
        line.ask("run")
    for command in ("failures", "explain shop:0", "search --id shop:0 --json"):
        line.ask(*command.split())
    return line


def test_two_were_fetched_with_their_passwords_and_four_failed(line: Line) -> None:
    assert '"shop:1"' in line.said["search --id shop:0 --json"]
    assert all(f"shop:{number}" in line.said["failures"] for number in (2, 3, 4, 5))


def test_nothing_printed_holds_a_secret(line: Line) -> None:
    assert [(name, each) for name, text in line.said.items() for each in SECRETS if each in text] == []


def test_what_is_printed_names_the_address(line: Line) -> None:
    assert f"http://{line.place}/gone.png?X-Amz-Signature=…&token=…" in line.said["failures"]
    assert f"http://{line.place}/many/2.png" in line.said["search --id shop:0 --json"]
    assert f"http://{line.place}/many/1.png" in line.said["explain shop:0"]


def test_no_file_holds_a_secret_but_those_that_pictures_are_fetched_by(line: Line) -> None:
    """Logs, Dagster's history, manifests, catalogue, index, vectors, cache."""
    found, read = [], 0
    for path in sorted(line.root.rglob("*")):
        name = path.relative_to(line.root).as_posix()
        if path.is_file() and not name.startswith(KEPT):
            read += 1
            found += [(name, secret) for secret in SECRETS if secret.encode() in content(path)]
    assert found == []
    assert read > 30


def test_the_environments_secrets_are_kept_nowhere_at_all(line: Line) -> None:
    kept = [path for path in line.root.rglob("*") if path.is_file()]
    assert [path for path in kept for secret in (KEY, HUB, OTHER) if secret.encode() in content(path)] == []


def test_nobody_else_can_write_what_was_made(line: Line) -> None:
    """What the umask of this process allows, and no more."""
    mask = os.umask(0o022)
    os.umask(mask)
    loose = [path for path in line.root.rglob("*") if not path.is_symlink() and path.stat().st_mode & mask & 0o777]
    assert loose == []


def content(path: Path) -> bytes:
    """All that a file holds, its compressed parts and its rows that are split over pages included."""
    data = path.read_bytes()
    if data.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            return data + "\n".join(connection.iterdump()).encode()
    if data.startswith(b"PAR1"):
        return data + repr(pq.read_table(path).to_pylist()).encode()
    return data
