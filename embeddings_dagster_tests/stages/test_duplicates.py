"""Near-duplicates of real pictures through a real index: what is joined, what is not, and what a run writes."""

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from embeddings_dagster.errors import CorruptFile, IndexUnavailable, Stopped
from embeddings_dagster.settings_models import ModelSettings, NetworkSettings
from embeddings_dagster.stages import looks as looks_module
from embeddings_dagster.stages import settling as settling_module
from embeddings_dagster.stages.analysis_files import KEPT
from embeddings_dagster.stages.duplicates import CLUSTERS, duplicates_of, load_clusters, refresh_duplicates, reported
from embeddings_dagster.stages.duplicates_sheet import contact_sheet, largest_clusters
from embeddings_dagster.stages.duplicates_signature import signature
from embeddings_dagster.stages.live_files import live_files
from embeddings_dagster.stages.verify import verify
from embeddings_dagster_tests.stages.gallery import MODEL, Gallery, emoji, gallery, saved

NAMES = ("animals/bear.png", "food/pizza.png", "travel/automobile.png", "symbols/green-heart.png")
OTHERS = ("symbols/yellow-heart.png", "symbols/red-heart.png", "animals/dog.png", "weather/new-moon.png")


def variants(name: str) -> dict[str, bytes]:
    """A picture, and what the world makes of it."""
    picture, stem = emoji(name), Path(name).stem
    width, height = picture.size
    crop = picture.crop((width * 0.015, height * 0.015, width * 0.985, height * 0.985))
    return {
        f"{stem}.png": saved(picture),
        f"{stem} copy.png": saved(picture),
        f"{stem}-30.jpg": saved(picture, "JPEG", quality=30),
        f"{stem}-double.png": saved(picture.resize((width * 2, height * 2), Image.Resampling.BICUBIC)),
        f"{stem}-crop.png": saved(crop),
        f"{stem}-bright.png": saved(ImageEnhance.Brightness(picture).enhance(1.1)),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("gallery")
    with pytest.MonkeyPatch.context() as patch:
        for module in (looks_module, settling_module):
            patch.setattr(module, "APART", timedelta(0))
        shop = gallery(root / "made")
        for name in NAMES:
            shop.put(variants(name))
        shop.put({Path(name).name: saved(emoji(name)) for name in OTHERS})
        shop.put({"mirrored pizza.png": saved(ImageOps.mirror(emoji("food/pizza.png")))})
        for colour in ("white", "black", "red", "blue"):
            shop.put({f"blank-{colour}.png": saved(Image.new("RGB", (96, 64), colour))})
        shop.step()
        yield root / "made"


@pytest.fixture
def shop(made: Path, tmp_path: Path, _hasty: None) -> Gallery:
    """A copy of the gallery, with everything indexed."""
    shutil.copytree(made, tmp_path / "copy")
    root = tmp_path / "copy"
    shutil.rmtree(root / "data" / "cache")
    opened = gallery(tmp_path / "other")
    settings = opened.settings
    settings._root = root
    context = replace(opened.context, store=type(opened.store).open(settings.data_root, settings.cache_root))
    return Gallery(root, context, clock=10**18 + 10**14)


def clusters(shop: Gallery) -> dict[str, set[str]]:
    """Members by representative, without the source."""
    found: dict[str, set[str]] = {}
    for image, representative in (load_clusters(shop.store) or {}).items():
        found.setdefault(representative.removeprefix("pics:"), set()).add(image.removeprefix("pics:"))
    return found


def test_recompressed_resized_cropped_and_brightened_pictures_are_one_cluster(shop: Gallery) -> None:
    report = refresh_duplicates(shop.context, MODEL)
    expected = {f"{Path(name).stem}-double.png": set(variants(name)) for name in NAMES}
    assert clusters(shop) == expected, "the largest stands for the others; hearts, blanks, mirrored are alone"
    assert (report.pictures, report.distinct, report.copies) == (33, 29, 4)
    assert (report.clusters, report.members, report.largest, report.unseen) == (4, 24, 6, 0)
    assert (report.generation, report.changed, report.looked_at) == (1, True, 29)


def test_every_member_says_how_close_it_is_to_its_representative(shop: Gallery) -> None:
    shop.put({"dog again.png": (shop.root / "pics" / "dog.png").read_bytes()})
    shop.step()
    refresh_duplicates(shop.context, MODEL)
    rows = duplicates_of(shop.store).read_table(duplicates_of(shop.store).latest(), CLUSTERS).to_pylist()
    for row in rows:
        itself = row["image_id"] == row["representative"]
        assert row["cosine"] >= (1.0 if itself or row["exact"] else 0.93)
        assert row["bits"] <= (0 if itself or row["exact"] else 12)
    assert [(row["image_id"], row["exact"]) for row in rows if "dog" in row["image_id"]] == [
        ("pics:dog again.png", True),
        ("pics:dog.png", True),
    ]


def test_nothing_changed_writes_nothing_and_reads_no_thumbnail(shop: Gallery) -> None:
    first = refresh_duplicates(shop.context, MODEL)
    before = shop.files("analysis")
    again = refresh_duplicates(shop.context, MODEL)
    assert shop.files("analysis") == before
    assert (again.changed, again.looked_at, again.bytes_written) == (False, 0, 0)
    assert replace(again, changed=True, looked_at=29, bytes_written=first.bytes_written, seconds=first.seconds) == first
    assert reported(shop.store) == replace(again, seconds=0.0)


def test_only_new_pictures_are_looked_at_and_gone_ones_leave(shop: Gallery) -> None:
    refresh_duplicates(shop.context, MODEL)
    shop.put({"bear-new.png": saved(ImageEnhance.Brightness(emoji("animals/bear.png")).enhance(0.9))})
    shop.remove("bear-double.png", "pizza-30.jpg")
    shop.step()
    report = refresh_duplicates(shop.context, MODEL)
    assert (report.generation, report.looked_at) == (2, 1)
    found = clusters(shop)
    assert found["bear copy.png"] == variants("animals/bear.png").keys() - {"bear-double.png"} | {"bear-new.png"}
    assert found["pizza-double.png"] == variants("food/pizza.png").keys() - {"pizza-30.jpg"}


def test_a_change_that_joins_nothing_new_keeps_the_file(shop: Gallery) -> None:
    refresh_duplicates(shop.context, MODEL)
    [part] = [name for name in shop.files("analysis") if name.endswith(".parquet")]
    shop.put({"ghost.png": saved(emoji("faces/ghost.jpg"))})
    shop.step()
    report = refresh_duplicates(shop.context, MODEL)
    assert (report.generation, report.changed, report.bytes_written) == (2, True, 0)
    assert [name for name in shop.files("analysis") if name.endswith(".parquet")] == [part]


def test_another_threshold_is_another_generation(shop: Gallery) -> None:
    refresh_duplicates(shop.context, MODEL)
    analysis = shop.settings.analysis.model_copy(update={"duplicate_bits": 0, "duplicate_cosine": 0.9999})
    strict = replace(shop.context, settings=shop.settings.model_copy(update={"analysis": analysis}))
    report = refresh_duplicates(strict, MODEL)
    assert (report.generation, report.changed) == (2, True)
    assert report.members < 24


def test_no_more_generations_are_kept_than_readers_may_need(shop: Gallery) -> None:
    for bits in range(KEPT + 2):
        analysis = shop.settings.analysis.model_copy(update={"duplicate_bits": bits})
        refresh_duplicates(
            replace(shop.context, settings=shop.settings.model_copy(update={"analysis": analysis})), MODEL
        )
    numbers = duplicates_of(shop.store).numbers()
    assert numbers == [KEPT, KEPT + 1, KEPT + 2]
    named = {each.file for number in numbers for each in duplicates_of(shop.store).get(number).files.values()}
    stored = {name.partition("/")[2] for name in shop.files("analysis")}
    assert named == {name for name in stored if name.endswith(".parquet")}
    assert verify(shop.store) == []


def test_damaged_clusters_are_named_with_the_remedy_and_healed_by_the_next_run(shop: Gallery) -> None:
    refresh_duplicates(shop.context, MODEL)
    [part] = Path(shop.store.root, "analysis", "near_duplicates", "parts").iterdir()
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(CorruptFile, match="delete the folder analysis/near_duplicates"):
        load_clusters(shop.store)
    assert [(each.dataset, part.name in each.file) for each in verify(shop.store)] == [("analysis", True)]
    log: list[str] = []
    report = refresh_duplicates(shop.saying(log), MODEL)
    assert (report.generation, report.changed) == (2, True)
    assert "made anew" in log[0]
    assert len(clusters(shop)) == 4


def test_a_deleted_or_damaged_look_up_costs_looking_again_and_nothing_else(shop: Gallery) -> None:
    refresh_duplicates(shop.context, MODEL)
    expected = clusters(shop)
    (shop.store.cache / "signatures.sqlite").write_bytes(b"no database")
    shutil.rmtree(Path(shop.store.root, "analysis"))
    assert refresh_duplicates(shop.context, MODEL).looked_at == 29
    assert clusters(shop) == expected


def test_a_stop_leaves_the_clusters_as_they_were(shop: Gallery) -> None:
    stop = type(shop.context.stop)()
    stop.set()
    with pytest.raises(Stopped):
        refresh_duplicates(replace(shop.context, stop=stop), MODEL)
    assert load_clusters(shop.store) is None


def test_without_an_index_there_is_nothing_yet(tmp_path: Path) -> None:
    empty = gallery(tmp_path)
    report = refresh_duplicates(empty.context, MODEL)
    assert (report.generation, report.changed, load_clusters(empty.store)) == (None, False, None)
    with pytest.raises(IndexUnavailable, match="embeddings duplicates --refresh"):
        largest_clusters(empty.store, 5)
    assert empty.files("analysis") == {}


@pytest.mark.usefixtures("_hasty")
def test_one_picture_and_then_none_are_no_clusters(tmp_path: Path) -> None:
    one = gallery(tmp_path)
    one.put({"ключ #1.png": saved(emoji("objects/key.png"))})
    one.step()
    report = refresh_duplicates(one.context, MODEL)
    assert (report.generation, report.pictures, report.clusters, load_clusters(one.store)) == (1, 1, 0, {})
    one.put({"ключ #2.png": saved(emoji("objects/key.png"))})
    one.step()
    refresh_duplicates(one.context, MODEL)
    assert load_clusters(one.store) == dict.fromkeys(["pics:ключ %231.png", "pics:ключ %232.png"], "pics:ключ %231.png")
    one.remove("ключ #1.png", "ключ #2.png")
    one.step()
    report = refresh_duplicates(one.context, MODEL)
    assert (report.pictures, load_clusters(one.store)) == (0, {})


def test_a_picture_whose_thumbnail_moved_on_is_unseen_until_the_index_follows(shop: Gallery) -> None:
    shutil.rmtree(Path(shop.store.root, "rgb_images"))
    report = refresh_duplicates(shop.context, MODEL)
    assert (report.unseen, report.clusters) == (29, 4), "exact copies need no thumbnail"
    assert clusters(shop)["bear copy.png"] == {"bear.png", "bear copy.png"}
    assert largest_clusters(shop.store, 1)[0].members[1].bits is None


def test_the_contact_sheet_shows_the_largest_clusters_within_its_bytes(shop: Gallery) -> None:
    refresh_duplicates(shop.context, MODEL)
    found = largest_clusters(shop.store, 3)
    assert [(each.representative, each.size) for each in found] == [
        ("pics:automobile-double.png", 6),
        ("pics:bear-double.png", 6),
        ("pics:green-heart-double.png", 6),
    ]
    assert [len(each.members) for each in largest_clusters(shop.store, 3, members=2)] == [2, 2, 2]
    sheet = contact_sheet(shop.store, found)
    assert sheet is not None
    assert Image.open(io.BytesIO(sheet)).size == (6 * 136 + 8, 3 * 168 + 8)
    small = contact_sheet(shop.store, found, most_bytes=15_000)
    assert small is not None
    assert len(small) <= 15_000 < len(sheet) <= 220_000
    assert contact_sheet(shop.store, []) is None


def test_its_file_is_listed_for_other_tools(shop: Gallery) -> None:
    assert list(live_files(shop.store, {}, "near_duplicates")) == []
    refresh_duplicates(shop.context, MODEL)
    [file] = live_files(shop.store, {}, "near_duplicates")
    assert pq.read_table(file.path).num_rows == file.rows == 24


@pytest.mark.usefixtures("_hasty")
def test_pictures_of_a_model_of_whole_images_are_looked_at_too(tmp_path: Path) -> None:
    """Its input hashes are not those of rgb_images: they are of all regions together."""
    network = {"architecture": "./net.py:Net", "dimension": 8, "image_size": 16, "regions": "together"}
    (tmp_path / "net.py").write_text(NET)
    made = gallery(tmp_path / "project", models={MODEL: {"kind": "custom", "model": "w.pth", "network": network}})
    model = ModelSettings(kind="custom", model=str(tmp_path / "w.pth"), network=NetworkSettings(
        **{**network, "architecture": f"{tmp_path / 'net.py'}:Net"}))  # fmt: skip
    torch.save(torch.nn.Linear(3, 8).state_dict(), tmp_path / "w.pth")
    made.settings.models[MODEL] = model
    made.put({name: data for name, data in variants("food/pizza.png").items() if "crop" not in name})
    made.step()
    report = refresh_duplicates(made.context, MODEL)
    assert (report.unseen, report.looked_at, report.members) == (0, 4, 5)


NET = """
import torch


class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(3, 8)

    def forward(self, pixels, boxes, texts):
        return super().forward(pixels.mean((2, 3)))
"""


def test_blank_pictures_have_the_hash_zero_whatever_the_compressor_does() -> None:
    for colour in ("white", "#123456", "red"):
        noisy = np.asarray(Image.new("RGB", (200, 100), colour)).astype(int)
        noisy = np.clip(noisy + np.random.default_rng(0).integers(-2, 3, noisy.shape), 0, 255).astype(np.uint8)
        found = signature(saved(Image.fromarray(noisy), "JPEG", quality=50))
        assert found is not None
        assert found.hash == 0
    assert signature(b"no picture") is None
