import hashlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from embeddings_dagster.errors import CorruptFile, MissingFile
from embeddings_dagster.store.checked import Checked
from embeddings_dagster.store.files_local import LocalFiles

DATA = b"committed bytes"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "part"
    path.write_bytes(DATA)
    return path


def checked(path: Path) -> Checked:
    """As another process would see it: nothing remembered but what lies in the cache."""
    return Checked(LocalFiles(path.parent), path.parent / "cache")


def change_unseen(path: Path) -> None:
    """Other bytes under the same size, mtime and inode, as a failing disk makes them."""
    before = path.stat()
    with path.open("r+b") as handle:
        handle.write(b"damaged")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_good_file_is_handed_out_from_its_start(path: Path) -> None:
    with checked(path).open("part", SHA256) as handle:
        assert handle.read() == DATA


def test_another_content_is_an_error_with_a_remedy(path: Path) -> None:
    path.write_bytes(b"something else!")
    with pytest.raises(CorruptFile, match=r"part does not hold what was committed\. Run `embeddings verify`"):
        checked(path).open("part", SHA256)


def test_a_missing_file_is_an_error_with_a_remedy(path: Path) -> None:
    path.unlink()
    with pytest.raises(MissingFile, match=r"part is missing\. Run `embeddings verify`"):
        checked(path).open("part", SHA256)


def test_a_file_is_hashed_once_and_remembered_across_processes(path: Path) -> None:
    checked(path).check("part", SHA256)
    change_unseen(path)
    checked(path).check("part", SHA256)


def test_verification_ignores_what_is_remembered(path: Path) -> None:
    checked(path).check("part", SHA256)
    change_unseen(path)
    with pytest.raises(CorruptFile):
        checked(path).check("part", SHA256, again=True)


def test_a_file_that_changed_is_hashed_again(path: Path) -> None:
    first = checked(path)
    first.check("part", SHA256)
    path.write_bytes(b"something else!")
    for each in (first, checked(path)):
        with pytest.raises(CorruptFile):
            each.check("part", SHA256)


def test_what_is_remembered_is_of_one_sha256(path: Path) -> None:
    checked(path).check("part", SHA256)
    with pytest.raises(CorruptFile):
        checked(path).check("part", hashlib.sha256(b"other").hexdigest())


def test_a_failed_check_is_not_remembered_as_a_good_one(path: Path) -> None:
    path.write_bytes(b"something else!")
    for _ in range(2):
        with pytest.raises(CorruptFile):
            checked(path).check("part", SHA256)


@pytest.mark.parametrize("damage", ["deleted", "garbage", "folder gone", "locked"])
def test_the_cache_may_be_lost_at_any_time(path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checked(path).check("part", SHA256)
    database = path.parent / "cache/checked.sqlite"
    if damage == "deleted":
        database.unlink()
    elif damage == "garbage":
        database.write_bytes(b"garbage" * 1000)
    elif damage == "folder gone":
        shutil.rmtree(database.parent)
    else:

        def busy(*args: object, **kwargs: object) -> sqlite3.Connection:
            raise sqlite3.OperationalError("database is locked")

        monkeypatch.setattr(sqlite3, "connect", busy)
    checked(path).check("part", SHA256)
    change_unseen(path)
    if damage == "locked":
        with pytest.raises(CorruptFile):
            checked(path).check("part", SHA256)
    else:
        checked(path).check("part", SHA256)
