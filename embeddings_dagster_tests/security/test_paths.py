"""Names and paths that strangers wrote lead to no file but theirs: none outside, no pipe, no device."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from embeddings_dagster.errors import EmbeddingsError, SourceError
from embeddings_dagster.settings_sources import DownloadSettings
from embeddings_dagster.sources.catalog import CatalogSource
from embeddings_dagster.sources.catalog.rows import CatalogRules
from embeddings_dagster.sources.comics.listing import list_specs
from embeddings_dagster.sources.downloads import Downloads
from embeddings_dagster.sources.local_files import FilesWithin, read_named, read_within
from embeddings_dagster.sources.page_specs.coco import read_predictions
from embeddings_dagster.sources.page_specs.mapping import read_mapping
from embeddings_dagster.sources.scraped.document import read_document
from embeddings_dagster.stages.groups_membership import groups_by_file
from embeddings_dagster_tests.shop import open_shop, tiny_png

CAP = 1 << 20


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """A root, and beside it a file that nobody is to see; in the root links, a pipe, a socket's name, a device."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(tiny_png(1))
    (root / "good.png").write_bytes(tiny_png(2))
    (root / "file.png").symlink_to(tmp_path / "secret.png")
    (root / "folder").symlink_to(tmp_path)
    (root / "loop.png").symlink_to(root / "loop.png")
    (root / "zero.png").symlink_to("/dev/zero")
    (root / "proc.png").symlink_to("/proc/self/environ")
    (root / "within.png").symlink_to(root / "good.png")
    os.mkfifo(root / "pipe.png")
    return root


OUTSIDE = [
    "../secret.png", "folder/secret.png", "file.png", "loop.png", "zero.png", "proc.png", "pipe.png", "/etc/passwd",
    "//etc/passwd", "folder/../secret.png", "%2e%2e/secret.png", "..%2Fsecret.png", "good.png/../../secret.png", "",
    ".", "..", "a" * 5_000, "a/" * 5_000, "\0", "good.png\0.txt",
]  # fmt: skip


@pytest.mark.parametrize("location", OUTSIDE, ids=lambda text: repr(text[:20]))
def test_nothing_outside_of_a_source_is_read(places: Path, location: str) -> None:
    with pytest.raises(EmbeddingsError):
        read_within(places, location, CAP, source="art", if_missing="put it there")
    assert FilesWithin(os.path.realpath(places)).stat(location) is None or location == "%2e%2e/secret.png"


def test_a_file_within_is_read(places: Path) -> None:
    assert read_within(places, "good.png", CAP, source="art", if_missing="") == tiny_png(2)
    assert read_within(places, "within.png", CAP, source="art", if_missing="") == tiny_png(2)


@pytest.mark.parametrize("name", ["pipe.png", "zero.png", "file.png"])
def test_a_batch_file_is_no_pipe_and_no_link_to_the_outside(places: Path, name: str) -> None:
    with pytest.raises(EmbeddingsError):
        read_document(os.path.realpath(places), name)


@pytest.mark.parametrize("name", ["pipe.png", "zero.png", "folder"])
def test_what_a_person_names_is_a_file_and_no_pipe_or_device(places: Path, name: str) -> None:
    """These are tables and lists; a pipe would be waited for, a device read for ever."""
    path = places / name
    with pytest.raises(OSError, match=r"regular|directory"):
        read_named(path)
    if name != "folder":
        for read in (
            lambda: read_mapping(path),
            lambda: read_predictions(path, categories=[1], min_score=0),
            lambda: list_specs(path, source="books", setting="path"),
            lambda: list(groups_by_file(path, "art", [])),
            lambda: CatalogSource("shop", path, CatalogRules(), Downloads(places / "cache", DownloadSettings())).scan(),
        ):
            with pytest.raises(SourceError):
                read()


def test_a_file_that_is_too_large_to_be_a_list_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "list.txt").open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(OSError, match="more than"):
        read_named(tmp_path / "list.txt")


@pytest.mark.parametrize("name", ["../victim.txt", "/tmp/victim.txt", "..", "a/b.png", "sub\\victim.txt"])
def test_the_record_of_downloads_names_no_file_outside_of_its_cache(tmp_path: Path, name: str) -> None:
    """Whoever can write it could else have any file read, and any file deleted when a new picture came."""
    folder = tmp_path / "cache"
    victim = tmp_path / "victim.txt"
    victim.write_text("kept")
    written = str(victim) if name.startswith("/tmp") else name
    with open_shop() as shop:
        url = shop.url("/many/1.png")
        settings = DownloadSettings(private_hosts=["127.0.0.1"])
        first = Downloads(folder, settings)
        first.read("1", url, CAP)
        first.close()
        with sqlite3.connect(folder / "urls.sqlite") as connection:
            connection.execute("UPDATE urls SET file = ?, size = 4, sha256 = 'x'", (written,))
        connection.close()
        again = Downloads(folder, settings)
        assert again.read("1", url, CAP) == tiny_png(1)
        again.close()
    assert victim.read_text() == "kept"


def test_a_cached_file_that_became_a_pipe_is_fetched_again(tmp_path: Path) -> None:
    with open_shop() as shop:
        downloads = Downloads(tmp_path, DownloadSettings(private_hosts=["127.0.0.1"]))
        downloads.read("1", shop.url("/many/1.png"), CAP)
        (tmp_path / "1.png").unlink()
        os.mkfifo(tmp_path / "1.png")
        assert downloads.read("1", shop.url("/many/1.png"), CAP) == tiny_png(1)
        downloads.close()


@pytest.mark.parametrize("mask", [0o077, 0o022])
def test_what_is_written_is_as_private_as_the_umask_says(tmp_path: Path, mask: int) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from embeddings_dagster.store import Store\n"
        "os.umask(int(sys.argv[2]))\n"
        "root = Path(sys.argv[1])\n"
        "store = Store.open(str(root / 'data'), root / 'cache')\n"
        "store.files.create('a/manifests/1.json', b'{}')\n"
        "with store.files.writing('a/parts/x') as file: file.write(b'x')\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path), str(mask)], check=True)
    made = list(tmp_path.rglob("*"))
    assert len(made) >= 4
    assert [path for path in made if path.stat().st_mode & mask & 0o777] == []
