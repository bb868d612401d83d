import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster import ids
from embeddings_dagster.errors import SourceError
from embeddings_dagster.sources.batch_names import batch_name
from embeddings_dagster.sources.scraped import ScrapedSource
from embeddings_dagster_tests.sources.scraping import age, item, listed, reasons, scanned, write, write_batch

STAMP = "20240131_235959"
MOMENT = datetime(2024, 1, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "file",
    [
        f"batch_{STAMP}/batch.json",
        f"batch_{STAMP}_123456/batch.json",
        f"{STAMP}/batch.json",
        f"{STAMP}/items.json",
        "any name/batch.json",
        "any/items.json",
        "spring.json",
        "batch.json",
        "Spring.JSON",
        f"{STAMP}/spring.json",
    ],
)
def test_every_layout_is_a_batch_with_its_pictures_beside_it(tmp_path: Path, file: str) -> None:
    folder = tmp_path / file.rpartition("/")[0]
    write(folder, "images/1/0.jpg", b"one")
    write(tmp_path, file, {"items": [item(1, "images/1/0.jpg")]})
    scan = scanned(tmp_path)
    ((batch, local_id, ordinal, location),) = listed(scan)
    assert ids.is_batch_key(f"shop__{batch}")
    assert (local_id, ordinal) == ("1", 0)
    assert (tmp_path / location).read_bytes() == b"one"
    assert scan.problems == ()
    assert scan.ignored == {}
    assert scan.entries["record_file"].to_pylist() == [file]
    assert scan.files["location"].to_pylist() == [file]
    assert scan.files["size"].to_pylist() == [(tmp_path / file).stat().st_size]


def test_lines_of_items_are_a_batch(tmp_path: Path) -> None:
    write(tmp_path, "spring.jsonl", '\n{"item_id": 1, "title": "a"}\r\n\n  {"item_id": 2}\n')
    assert [each[:2] for each in listed(scanned(tmp_path))] == [("spring.jsonl", "1"), ("spring.jsonl", "2")]


def test_folders_are_searched_at_any_depth_but_not_within_a_batch(tmp_path: Path) -> None:
    write_batch(tmp_path, "scraped/2024/one", item(1))
    write_batch(tmp_path, "scraped/2024/one/inner", item(2))
    write(tmp_path, "scraped/2024/one/spring.json", {"items": [item(3)]})
    write_batch(tmp_path, "scraped/2025/one", item(4))
    write_batch(tmp_path, "scraped/two", item(5))
    found = {each[1]: each[0] for each in listed(scanned(tmp_path))}
    assert set(found) == {"1", "4", "5"}
    assert len(set(found.values())) == 3


def test_pictures_folders_are_not_searched_for_batches(tmp_path: Path) -> None:
    write_batch(tmp_path, "", item(1, "images/1/0.jpg"), file="spring.json")
    write(tmp_path, "images/1/0.jpg", b"x")
    write(tmp_path, "images/1/batch.json", {"items": [item(2)]})
    assert [each[1] for each in listed(scanned(tmp_path))] == ["1"]


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item(1))
    write_batch(tmp_path, ".hidden", item(2))
    write(tmp_path, ".spring.json", [item(3)])
    write(tmp_path, "notes.txt", "x")
    write(tmp_path, "loose.jpg", b"x")
    (tmp_path / "linked").symlink_to("one")
    os.mkfifo(tmp_path / "pipe.json")
    scan = scanned(tmp_path)
    assert [each[:2] for each in listed(scan)] == [("one", "1")]
    assert scan.ignored == {
        "hidden": 2,
        "linked folder, not entered": 1,
        "neither a picture nor a batch file by its extension": 1,
        "not a regular file": 1,
        "picture outside of a batch": 1,
    }


def test_a_loop_of_links_traps_nothing(tmp_path: Path) -> None:
    write_batch(tmp_path, "a/one", item(1))
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "self.json").symlink_to("self.json")
    assert [each[1] for each in listed(scanned(tmp_path))] == ["1"]


@pytest.mark.parametrize("folder", ["one", ""])
def test_batch_json_goes_before_items_json_and_both_is_reported(tmp_path: Path, folder: str) -> None:
    write_batch(tmp_path, folder, item(1))
    write_batch(tmp_path, folder, item(2), file="items.json")
    scan = scanned(tmp_path)
    assert [each[1] for each in listed(scan)] == ["1"]
    second = f"{folder}/items.json" if folder else "items.json"
    assert reasons(scan) == {second: ["is not read, for there is a batch.json beside it; delete one of them"]}
    assert scan.ignored == {"items.json beside a batch.json": 1}


# ---- unfinished


@pytest.mark.parametrize(
    "name", [f"batch_{STAMP}/images/1/0.jpg", f"{STAMP}/x.part", "spring/images/1/0.jpg", "spring/0.png"]
)
def test_a_folder_whose_batch_file_has_yet_to_come_is_left_for_the_next_look(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, b"x")
    scan = scanned(tmp_path, young=True)
    folder = name.partition("/")[0]
    assert scan.left_alone == {f"shop__{folder}"}
    assert scan.ignored["folder without a batch file as yet, left for the next look"] == 1
    assert listed(scan) == []
    assert scan.problems == ()
    write_batch(tmp_path, folder, item(1))
    assert [each[:2] for each in listed(scanned(tmp_path))] == [(folder, "1")]


def test_a_batch_whose_file_is_away_is_not_gone_and_after_an_hour_that_is_told(tmp_path: Path) -> None:
    write_batch(tmp_path, "spring", item(1))
    write(tmp_path, "spring/images/1/0.jpg", b"x")
    write(tmp_path, "spring/batch.tmp.json", "[")
    (tmp_path / "spring/batch.json").unlink()
    assert "shop__spring" in scanned(tmp_path, young=True).left_alone
    (tmp_path / "spring/batch.tmp.json").unlink()
    age(tmp_path, 2 * 3600)
    scan = scanned(tmp_path, young=True)
    assert scan.left_alone == {"shop__spring"}
    assert reasons(scan) == {
        "spring": [
            "has had no batch.json or items.json for an hour; if its scraper has died, scrape again or delete it"
        ]
    }


def test_pictures_beside_a_batch_file_are_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, "export.jsonl", json.dumps(item(1, "pictures/1.jpg")))
    write(tmp_path, "pictures/1.jpg", b"x")
    write(tmp_path, f"batch_{STAMP}/x.part", b"x")
    age(tmp_path, 2 * 3600)
    scan = scanned(tmp_path, young=True)
    assert [each[0] for each in listed(scan)] == ["export.jsonl"]
    assert list(reasons(scan)) == [f"batch_{STAMP}"]


def test_what_macos_puts_into_an_archive_is_passed_over(tmp_path: Path) -> None:
    write_batch(tmp_path, f"batch_{STAMP}", item(1, "1.jpg"))
    write(tmp_path, f"__MACOSX/batch_{STAMP}/._batch.json", b"\0\5\x16\7")
    write(tmp_path, f"__MACOSX/._batch_{STAMP}", b"\0\5\x16\7")
    write(tmp_path, ".DS_Store", b"\0")
    scan = scanned(tmp_path)
    assert scan.ignored == {"hidden": 2}
    assert (scan.problems, scan.left_alone) == ((), frozenset())


def test_a_root_without_any_batch_is_told_of(tmp_path: Path) -> None:
    write(tmp_path, "readme.txt", "x")
    assert "holds no batch, which is a folder with a batch.json" in reasons(scanned(tmp_path))[str(tmp_path)][0]
    (tmp_path / f"batch_{STAMP}").mkdir()
    assert not reasons(scanned(tmp_path, young=True))


def test_a_batch_that_is_not_there_any_more_is_not_listed_and_not_left_alone(tmp_path: Path) -> None:
    write_batch(tmp_path, "other", item(1))
    scan = scanned(tmp_path, {"shop__spring": "mark"})
    assert scan.left_alone == frozenset()
    assert ScrapedSource("shop", tmp_path).records("shop__spring", scan.entries) == {}


# ---- errors


@pytest.mark.parametrize("state", ["does not exist", "is not a folder"])
def test_a_root_that_is_not_there_is_an_error(tmp_path: Path, state: str) -> None:
    if state == "is not a folder":
        (tmp_path / "scraped").write_text("")
    source = ScrapedSource("shop", tmp_path / "scraped", setting="sources.shop.path (embeddings.yaml:4)")
    with pytest.raises(SourceError, match=rf"source 'shop': .* {state}; mount or create it, or correct .*yaml:4"):
        source.scan()


@pytest.mark.parametrize("folder", ["", "2024/spring"])
def test_a_folder_that_cannot_be_listed_is_an_error_for_the_whole_source(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's refusal is played: the tests may run as root, who is refused nothing."""
    write_batch(tmp_path, "one", item(1))
    write(tmp_path, "2024/spring/x", "")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if os.path.realpath(path) == os.path.realpath(tmp_path / folder):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        SourceError, match=rf"{folder or 'its root'} cannot be listed \(Permission denied\), so nothing"
    ):
        ScrapedSource("shop", tmp_path).scan()


def test_a_batch_file_that_is_a_link_is_read_only_within_the_root(tmp_path: Path) -> None:
    root = tmp_path / "scraped"
    write_batch(root, "kept", item(1))
    write(tmp_path, "secret.json", [item(2)])
    for name, target in (("in.json", "kept/batch.json"), ("out.json", "../secret.json"), ("nothing.json", "nowhere")):
        (root / name).symlink_to(target)
    scan = scanned(root)
    assert [each[:2] for each in listed(scan)] == [("in.json", "1"), ("kept", "1")]
    out = "is a link out of the source's folder, or to nothing; put the file itself there"
    assert reasons(scan) == {"nothing.json": [out], "out.json": [out]}


# ---- names


@pytest.mark.parametrize("name", [f"batch_{STAMP}", "spring.json", "a-b_c.1"])
def test_a_name_that_may_be_a_key_stays_as_it_is(name: str) -> None:
    assert batch_name(name) == name


@pytest.mark.parametrize(
    "path", ["2024/spring", "été", "a b", "a...b", "a\nb", "x" * 300, "spring-0123456789", "a%b", "\udcff", "#"]
)
def test_other_names_are_replaced_and_get_a_hash(path: str) -> None:
    name = batch_name(path)
    assert name != path
    assert ids.is_batch_key(f"shop__{name}")
    assert len(name) <= 111


def test_batches_that_would_be_named_alike_are_two(tmp_path: Path) -> None:
    for number, folder in enumerate(("a b", "a-b", "a/b", "a\u00a0b", "a...b"), start=1):
        write_batch(tmp_path, folder, item(number))
    found = listed(scanned(tmp_path))
    assert sorted(each[1] for each in found) == ["1", "2", "3", "4", "5"]
    assert len({each[0] for each in found}) == 5
    assert ("a-b", "2") in [each[:2] for each in found]


def test_a_name_of_any_bytes_is_a_batch(tmp_path: Path) -> None:
    folder = os.fsdecode(b"\xff \n%#")
    write_batch(tmp_path, folder, item(1, "0.jpg"))
    write(tmp_path, f"{folder}/0.jpg", b"x")
    scan = scanned(tmp_path)
    ((_, _, _, location),) = listed(scan)
    assert location == "%FF %0A%25%23/0.jpg"
    assert scan.entries["size"].to_pylist() == [1]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), max_size=5, unique=True))
def test_names_are_keys_and_one_to_one(paths: list[str]) -> None:
    names = [batch_name(path) for path in paths]
    assert len(set(names)) == len(names)
    assert all(ids.is_batch_key(f"shop__{name}") for name in names)
    assert names == [batch_name(path) for path in paths]


# ---- when


@pytest.mark.parametrize(
    ("path", "told", "moment"),
    [
        (f"batch_{STAMP}/batch.json", "2024-02-01T01:00:00+01:00", datetime(2024, 2, 1, tzinfo=UTC)),
        (f"batch_{STAMP}/batch.json", "2024-02-01T00:00:00", datetime(2024, 2, 1, tzinfo=UTC)),
        (f"batch_{STAMP}/batch.json", 1706745600, datetime(2024, 2, 1, tzinfo=UTC)),
        (f"batch_{STAMP}/batch.json", None, MOMENT),
        (f"{STAMP}/items.json", "", MOMENT),
        (f"items_{STAMP}.json", None, MOMENT),
        (f"{STAMP}/spring.json", None, MOMENT),
        ("spring/batch.json", None, None),
    ],
)
def test_a_batch_was_scraped_when_its_file_says_or_its_name(
    tmp_path: Path, path: str, told: object, moment: datetime | None
) -> None:
    write(tmp_path, path, {"scraped_at": told, "items": [item(1)]})
    scan = scanned(tmp_path)
    assert list(scan.scraped_at.values()) == ([moment] if moment else [])
    assert scan.problems == ()


def test_a_time_that_makes_no_sense_is_told_and_the_name_counts(tmp_path: Path) -> None:
    write_batch(tmp_path, f"batch_{STAMP}", item(1), scraped_at="last week")
    scan = scanned(tmp_path)
    assert list(scan.scraped_at.values()) == [MOMENT]
    (reason,) = reasons(scan)[f"batch_{STAMP}/batch.json"]
    assert reason == "the batch: scraped_at: 'last week' is no time; that in its name is taken, if there is one"
