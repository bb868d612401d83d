"""Which batches a scan reads again."""

import os
import time
from pathlib import Path

import pytest

from embeddings_dagster.sources.scraped import ScrapedSource
from embeddings_dagster_tests.sources.scraping import HOUR, age, item, listed, scanned, write, write_batch


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_batch(tmp_path, "one", item(1, "images/1/0.jpg"))
    write(tmp_path, "one/images/1/0.jpg", b"x")
    write_batch(tmp_path, "two", item(2))
    write_batch(tmp_path, "2024/deep", item(3, "0.jpg"))
    write(tmp_path, "2024/deep/0.jpg", b"x")
    write(tmp_path, "spring.json", [item(4)])
    age(tmp_path)
    return tmp_path


def test_batches_that_look_as_before_are_left_alone_and_not_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = scanned(root)
    assert len(before.marks) == 4
    monkeypatch.setattr(os, "open", None)
    monkeypatch.setattr(os, "listdir", None)
    scan = ScrapedSource("shop", root).scan(dict(before.marks))
    assert scan.left_alone == set(before.marks)
    assert listed(scan) == []
    assert scan.marks == {}
    assert scan.files.num_rows == 0


def test_a_mark_of_another_batch_or_another_time_is_not_believed(root: Path) -> None:
    marks = dict(scanned(root).marks)
    marks["shop__one"], marks["shop__gone"] = marks["shop__two"], "x"
    scan = scanned(root, marks, young=True)
    assert [each[0] for each in listed(scan)] == ["one"]
    assert scan.left_alone == marks.keys() - {"shop__one", "shop__gone"}


@pytest.mark.parametrize(
    "change",
    [
        lambda one: write_batch(one.parent, "one", item(1, "images/1/0.jpg", price=6)),
        lambda one: (one / "images/5").mkdir(),
        lambda one: write(one, "5.jpg", b"x"),
        lambda one: (one / "batch.json").rename(one / "items.json"),
        lambda one: os.replace(write(one.parent, "x", (one / "batch.json").read_bytes()), one / "batch.json"),
    ],
    ids=["its file", "a folder of pictures", "a picture", "the name of its file", "another file of equal bytes"],
)
def test_a_change_is_seen_even_where_times_and_sizes_are_kept(root: Path, change: object) -> None:
    marks = dict(scanned(root).marks)
    times = {path: path.stat().st_mtime_ns for path in (root / "one", root / "one/images", root / "one/batch.json")}
    change(root / "one")
    for path, then in times.items():
        if path.exists():
            os.utime(path, ns=(then, then))
    scan = ScrapedSource("shop", root).scan(marks)
    assert "one" in {each[0] for each in listed(scan)}


def test_what_changed_a_moment_ago_gets_no_mark(root: Path) -> None:
    now = time.time()
    os.utime(root / "one/batch.json", (now, now))
    os.utime(root / "two", (now, now))
    os.utime(root / "spring.json", (now + HOUR, now + HOUR))
    assert [name.rpartition("-")[0] for name in scanned(root, young=True).marks] == ["shop__2024-deep"]
    assert len(scanned(root).marks) == 4


def test_a_batch_with_a_missing_picture_is_read_each_time_until_it_is_there(root: Path) -> None:
    (root / "one/images/1/0.jpg").unlink()
    (root / "two/images/2").mkdir(parents=True)
    marks = dict(scanned(root).marks)
    assert {"shop__one", "shop__two"}.isdisjoint(marks)
    write(root, "one/images/1/0.jpg", b"x")
    write(root, "two/images/2/0.jpg", b"x")
    scan = scanned(root, marks, young=True)
    assert [each[:2] for each in listed(scan)] == [("one", "1"), ("two", "2")]
    assert {"shop__one", "shop__two"} <= scan.marks.keys()


def test_a_batch_whose_file_cannot_be_read_gets_no_mark(root: Path) -> None:
    write(root, "one/batch.json", "[")
    scan = scanned(root)
    assert "shop__one" not in scan.marks
    assert "shop__one" in scan.left_alone


def test_a_hundred_batches_that_are_known_are_as_many_states_of_files_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        write_batch(tmp_path, f"batch_20240131_2359{number:02d}", item(number, f"images/{number}/0.jpg"))
        write(tmp_path, f"batch_20240131_2359{number:02d}/images/{number}/0.jpg", b"x")
    marks = dict(scanned(tmp_path).marks)
    asked: list[str] = []
    for name in ("stat", "lstat", "scandir"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda path, *rest, real=real, **more: asked.append(path) or real(path, *rest, **more)
        )
    assert len(ScrapedSource("shop", tmp_path).scan(marks).left_alone) == 100
    assert len(asked) <= 4 * 100 + 20
