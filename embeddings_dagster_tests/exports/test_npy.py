"""`.npy` as the programs read it that were written for the old scripts' files."""

from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.exports import Wanted, export_npy
from embeddings_dagster.ids import Key
from embeddings_dagster_tests.exports.shelf import Shelf, names, read

NUMBERED = [f"art:{number:04}.png" for number in range(1, 1026)]


def loaded(path: Path) -> np.ndarray:
    """As its readers do."""
    array = np.load(path, mmap_mode="r")
    assert (array.dtype.str, array.flags.c_contiguous, type(array)) == ("<f4", True, np.memmap)
    np.testing.assert_allclose(np.linalg.norm(array, axis=1), 1, atol=1e-6)
    return array


def test_numbered_artwork_is_found_at_its_number_less_one(shelf: Shelf) -> None:
    """1,025 pictures, which came in no order and lie in several segments."""
    shelf.put(*NUMBERED[600:], segments=3)
    shelf.put(*reversed(NUMBERED[:600]))
    report = export_npy(shelf.context, Wanted(sources=("art",)), shelf.root / "art.npy")
    embeddings = loaded(shelf.root / "art.npy")
    assert embeddings.shape == (1025, 8)
    for number in (1, 2, 9, 10, 600, 601, 1025):
        assert np.array_equal(embeddings[number - 1], shelf.vector(f"art:{number:04}.png"))
    assert names(report) == ["art.npy", "art_info.json"], "ids would say nothing that rows do not"
    assert (report.rows, report.dimension, report.generation, report.format) == (1025, 8, 2, "npy")


@pytest.mark.parametrize(
    ("images", "ids"),
    [
        (["art:2.png", "art:10.png", "art:1.png", "art:3.png"], ["1.png", "2.png", "3.png", "10.png"]),
        (["art:0000.png", "art:0001.png"], ["0000.png", "0001.png"]),
        (["art:1.png", "art:2.png", "art:2.jpg"], ["1.png", "2.jpg", "2.png"]),
        (["art:a/1.png", "art:a/2.png"], ["a/1.png", "a/2.png"]),
        (["art:1.0", "art:2.0"], ["1.0", "2.0"]),
        (["art:Ünïcode 2.png", "art:%FF.png", "art:日本.png"], ["%FF.png", "Ünïcode 2.png", "日本.png"]),
        (["art:１.png", "art:２.png"], ["１.png", "２.png"]),
        (["art:1.png", "art:" + "9" * 5000], ["1.png", "9" * 5000]),
    ],
    ids=[
        "a gap",
        "from zero",
        "a number twice",
        "in a folder",
        "no whole numbers",
        "names",
        "wide digits",
        "a long one",
    ],
)
def test_ids_that_rows_do_not_tell_lie_beside(shelf: Shelf, images: list[str], ids: list[str]) -> None:
    shelf.put(*images)
    report = export_npy(shelf.context, None, shelf.root / "art.npy")
    assert names(report) == ["art.npy", "art_ids.json", "art_info.json"]
    assert read(shelf.root / "art_ids.json") == ids
    for row, local_id in zip(loaded(shelf.root / "art.npy"), ids, strict=True):
        assert np.array_equal(row, shelf.vector(f"art:{local_id}"))


def test_ids_go_when_rows_tell_them(shelf: Shelf) -> None:
    shelf.put("art:1.png", "art:3.png")
    export_npy(shelf.context, None, shelf.root / "art.npy")
    assert read(shelf.root / "art_ids.json") == ["1.png", "3.png"]
    shelf.put("art:2.png")
    export_npy(shelf.context, None, shelf.root / "art.npy")
    assert not (shelf.root / "art_ids.json").exists()
    assert loaded(shelf.root / "art.npy").shape == (3, 8)


def test_a_folder_gets_the_files_of_a_catalogue(shelf: Shelf) -> None:
    shelf.put("shop:p10", "shop:p9", "shop:p9#1", "shop:p11#2")
    report = export_npy(shelf.context, Wanted(sources=("shop",)), shelf.root / "out")
    assert names(report) == ["clip_embeddings.npy", "embedding_metadata.json"]
    said = read(shelf.root / "out" / "embedding_metadata.json")
    assert (said["model"], said["count"]) == ("bundled:clip", 3)
    assert said["ids"] == said["product_ids"] == ["p9", "p10", "p11"]
    assert (said["name"], said["generation"], said["run_id"]) == ("clip", 1, "run")
    assert said["fingerprint"].startswith("0123456789ab")
    assert said["created_at"].startswith("20")
    assert said["left_out"] == {"parts": 0, "further_pictures": 1}
    assert (said["norm"], said["scaled"], said["complete"]) == (1, False, True)
    embeddings = loaded(shelf.root / "out" / "clip_embeddings.npy")
    wanted = [shelf.vector(image) for image in ("shop:p9", "shop:p10", "shop:p11#2")]
    assert np.array_equal(embeddings, wanted), "of an item, the first picture that has a vector"


def test_all_pictures_of_an_item_have_an_id_each(shelf: Shelf) -> None:
    shelf.put("shop:p1#10", "shop:p1", "shop:p1#2", "shop:p2#1")
    report = export_npy(shelf.context, Wanted(pictures="all"), shelf.root / "out")
    assert read(shelf.root / "out" / "embedding_metadata.json")["ids"] == ["p1", "p1#2", "p1#10", "p2#1"]
    assert (report.rows, report.further) == (4, 0)


def test_rows_of_several_sources_have_full_ids(shelf: Shelf) -> None:
    shelf.put("shop:1", "art:1", "art:2")
    export_npy(shelf.context, None, shelf.root / "all.npy")
    assert read(shelf.root / "all_ids.json") == ["art:1", "art:2", "shop:1"]
    export_npy(shelf.context, Wanted(sources=("art", "art")), shelf.root / "art.npy")
    assert not (shelf.root / "art_ids.json").exists()


def test_panels_are_no_rows_and_are_counted(shelf: Shelf) -> None:
    shelf.put(Key("art:1.png", 0), Key("art:1.png", 1), Key("art:1.png", 2), Key("art:2.png", 0))
    report = export_npy(shelf.context, None, shelf.root / "art.npy")
    assert (report.rows, report.parts) == (2, 2)
    assert np.array_equal(loaded(shelf.root / "art.npy")[0], shelf.vector("art:1.png"))


def test_one_row_is_an_export(shelf: Shelf) -> None:
    shelf.put("art:1")
    assert export_npy(shelf.context, None, shelf.root / "art.npy").rows == 1
    assert loaded(shelf.root / "art.npy").shape == (1, 8)


def test_by_default_it_goes_into_the_exports_of_the_store(shelf: Shelf) -> None:
    shelf.put("art:1", "shop:1")
    made = export_npy(shelf.context, Wanted(sources=("art",)))
    assert {file.path.parent for file in made.files} == {shelf.root / "data" / "exports" / "art" / "clip"}
    made = export_npy(shelf.context)
    assert {file.path.parent for file in made.files} == {shelf.root / "data" / "exports" / "clip"}
    assert shelf.store.verify() == []


def test_the_report_names_what_was_written(shelf: Shelf) -> None:
    import hashlib

    shelf.put("art:x")
    report = export_npy(shelf.context, None, shelf.root / "art.npy")
    for file in report.files:
        data = file.path.read_bytes()
        assert (file.bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    files = read(shelf.root / "art_info.json")["files"]
    assert files["art.npy"] == {"bytes": report.files[0].bytes, "sha256": report.files[0].sha256}
    assert set(files) == {"art.npy", "art_ids.json"}
    assert report.as_dict()["files"][0]["path"] == str(shelf.root / "art.npy")
