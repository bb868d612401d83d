import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from embeddings_dagster.errors import NotExclusive
from embeddings_dagster.store.files import Files
from embeddings_dagster.store.files_local import LocalFiles
from embeddings_dagster.store.files_object import ObjectFiles
from embeddings_dagster.store.files_s3 import S3Files
from embeddings_dagster_tests.store.places import Place, open_at


@pytest.fixture(params=["local", "memory", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    if request.param == "local":
        return LocalFiles(tmp_path / "root")
    if request.param == "s3":
        return S3Files(request.getfixturevalue("s3").new_root(), tmp_path / "scratch")
    return ObjectFiles(f"memory://{tmp_path}", tmp_path / "scratch")


def test_a_written_file_is_read_back_and_listed(files: Files) -> None:
    with files.writing("a/b/part") as handle:
        handle.write(b"bytes")
    assert files.read("a/b/part") == b"bytes"
    with files.open("a/b/part") as handle:
        assert handle.read(2) == b"by"
    assert files.names("a/b") == ["part"]
    assert files.folders("a") == ["b"]
    assert files.names("a") == files.folders("a/b") == []


def test_the_newest_file_of_each_folder_is_listed_with_its_state(files: Files) -> None:
    for path in ("a/x/m/1.json", "a/x/m/3.json", "a/x/m/2.json", "a/x/m/9.txt", "a/y/m/1.json", "a/z/other/1.json",
                 "a/x/m/deeper/8.json", "a/.hidden/m/1.json", "a/file", "b/x/m/7.json"):  # fmt: skip
        with files.writing(path) as handle:
            handle.write(path.encode())
    newest = files.newest("a", "m", re.compile(r"[0-9]\.json"))
    assert newest == {
        "x": ("3.json", files.stat("a/x/m/3.json")),
        "y": ("1.json", files.stat("a/y/m/1.json")),
    }
    assert list(newest) == ["x", "y"]
    assert files.newest("nowhere", "m", re.compile(".*")) == {}


def test_a_file_that_is_being_written_is_not_there(files: Files) -> None:
    with files.writing("a/part") as handle:
        handle.write(b"bytes")
        assert files.names("a") == []
        assert files.stat("a/part") is None


def test_a_write_that_fails_leaves_nothing(files: Files, tmp_path: Path) -> None:
    def give_up() -> None:
        with files.writing("a/part") as handle:
            handle.write(b"bytes")
            raise RuntimeError("gave up")

    with pytest.raises(RuntimeError, match="gave up"):
        give_up()
    assert files.stat("a/part") is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_missing_is_said_to_be_missing(files: Files) -> None:
    assert files.names("nowhere") == files.folders("nowhere") == []
    assert files.stat("nowhere") is None
    files.delete("nowhere")
    with pytest.raises(FileNotFoundError):
        files.read("nowhere")
    with pytest.raises(FileNotFoundError):
        files.open("nowhere")


def test_a_created_file_is_never_replaced(files: Files) -> None:
    files.create("a/one", b"first")
    with pytest.raises(FileExistsError):
        files.create("a/one", b"second")
    assert files.read("a/one") == b"first"
    assert files.names("a") == ["one"]


def test_a_deleted_file_is_gone_and_may_be_created_again(files: Files) -> None:
    files.create("a/one", b"first")
    files.delete("a/one")
    files.create("a/one", b"second")
    assert files.read("a/one") == b"second"


def test_stat_tells_a_changed_file_from_the_one_before(files: Files) -> None:
    files.create("one", b"first")
    before = files.stat("one")
    time.sleep(0.01)
    with files.writing("one") as handle:
        handle.write(b"other")  # as long as the one before, and on an object store within the same second
    assert files.stat("one") != before


def test_good_storage_passes_the_probe_and_nothing_of_it_stays(files: Files, tmp_path: Path) -> None:
    files.require_exclusive()
    assert files.names("") == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_url_and_a_local_place_can_be_told(tmp_path: Path) -> None:
    local = LocalFiles(tmp_path)
    assert local.url("a/b") == str(tmp_path / "a/b") == str(local.local("a/b"))
    assert ObjectFiles("memory://x/", tmp_path).url("a/b") == "memory://x/a/b"
    assert ObjectFiles("memory://x", tmp_path).local("a/b") is None


def test_a_disk_without_hard_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(NotExclusive, match="no hard links"):
        LocalFiles(tmp_path).require_exclusive()


RACERS = """
import os, sys, time
from pathlib import Path
from embeddings_dagster.store import Store
folder, root = Path(sys.argv[1]), sys.argv[2]
if "://" in root:
    import s3fs  # once, and not in each child
name = next((str(number) for number in range(8) if os.fork() == 0), None)
if name is None:
    while len(list(folder.glob("ready-*"))) < 8:
        time.sleep(0.01)
    (folder / "go").touch()
    sys.exit(any(os.wait()[1] for _ in range(8)))
files = Store.open(root, folder / "cache").files
files.names("")  # an object store is reached for the first time
(folder / f"ready-{name}").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
wins = 0
for number in range(20):
    try:
        files.create(f"race/{number}", name.encode())
        wins += 1
    except FileExistsError:
        pass
(folder / f"wins-{name}").write_text(str(wins))
os._exit(0)
"""


def test_of_eight_processes_that_create_one_file_one_wins(place: Place) -> None:
    folder = place.folder
    subprocess.run([sys.executable, "-c", RACERS, str(folder), place.root], check=True, timeout=120)
    wins = {number: int((folder / f"wins-{number}").read_text()) for number in range(8)}
    authors = [int(open_at(place).files.read(f"race/{number}")) for number in range(20)]
    assert wins == {number: authors.count(number) for number in range(8)}
