import hashlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from embeddings_dagster.errors import CorruptFile, MissingFile
from embeddings_dagster.store.checked import Checked
from embeddings_dagster_tests.store.places import Place, open_at

DATA = b"committed bytes"
SHA256 = hashlib.sha256(DATA).hexdigest()
UNSEEN = pytest.mark.local_disk("no object store lets bytes change and keeps their ETag")


@pytest.fixture(autouse=True)
def _part(place: Place) -> None:
    place.write("part", DATA)


def checked(place: Place) -> Checked:
    """As another process would see it: nothing remembered but what lies in the cache."""
    return open_at(place).checked


def change_unseen(place: Place) -> None:
    """Other bytes under the same size, mtime and inode, as a failing disk makes them."""
    path = Path(place.root) / "part"
    before = path.stat()
    with path.open("r+b") as handle:
        handle.write(b"damaged")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_good_file_is_handed_out_from_its_start(place: Place) -> None:
    with checked(place).open("part", SHA256) as handle:
        assert handle.read() == DATA


def test_another_content_is_an_error_with_a_remedy(place: Place) -> None:
    place.write("part", b"something else!")
    with pytest.raises(CorruptFile, match=r"part does not hold what was committed\. Run `embeddings verify`"):
        checked(place).open("part", SHA256)


def test_a_missing_file_is_an_error_with_a_remedy(place: Place) -> None:
    place.delete("part")
    with pytest.raises(MissingFile, match=r"part is missing\. Run `embeddings verify`"):
        checked(place).open("part", SHA256)


@UNSEEN
def test_a_file_is_hashed_once_and_remembered_across_processes(place: Place) -> None:
    checked(place).check("part", SHA256)
    change_unseen(place)
    checked(place).check("part", SHA256)


@UNSEEN
def test_verification_ignores_what_is_remembered(place: Place) -> None:
    checked(place).check("part", SHA256)
    change_unseen(place)
    with pytest.raises(CorruptFile):
        checked(place).check("part", SHA256, again=True)


def test_a_file_that_changed_is_hashed_again(place: Place) -> None:
    first = checked(place)
    first.check("part", SHA256)
    place.write("part", b"something else!")
    for each in (first, checked(place)):
        with pytest.raises(CorruptFile):
            each.check("part", SHA256)


def test_what_is_remembered_is_of_one_sha256(place: Place) -> None:
    checked(place).check("part", SHA256)
    with pytest.raises(CorruptFile):
        checked(place).check("part", hashlib.sha256(b"other").hexdigest())


def test_a_failed_check_is_not_remembered_as_a_good_one(place: Place) -> None:
    place.write("part", b"something else!")
    for _ in range(2):
        with pytest.raises(CorruptFile):
            checked(place).check("part", SHA256)


@UNSEEN
@pytest.mark.parametrize("damage", ["deleted", "garbage", "folder gone", "locked"])
def test_the_cache_may_be_lost_at_any_time(place: Place, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checked(place).check("part", SHA256)
    database = place.folder / "cache/checked.sqlite"
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
    checked(place).check("part", SHA256)
    change_unseen(place)
    if damage == "locked":
        with pytest.raises(CorruptFile):
            checked(place).check("part", SHA256)
    else:
        checked(place).check("part", SHA256)
