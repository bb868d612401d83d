"""Who opens a damaged file first says so, and answers with nothing of it: every kind, by the functions of a run and by
the search service. Rot that keeps size, time and inode is found by `verify`, and from then on by everybody.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from embeddings_dagster.catalog import Catalogue
from embeddings_dagster.engines import LocalEngine
from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.search import SearchService
from embeddings_dagster.stages.calibration import with_calibration
from embeddings_dagster.stages.canaries import reference
from embeddings_dagster.stages.catalog import refresh_catalog
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.duplicates import load_clusters
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.embedding_map import read_picture
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import Store
from embeddings_dagster_tests.damage.injuries import undone
from embeddings_dagster_tests.damage.ward import Ward

BATCH = "art__000001"
Reader = Callable[[StageContext], object]


def embed(context: StageContext) -> object:
    return run_embed(context, "clip", context.settings.models["clip"], LocalEngine(context.store.cache), BATCH)


def searched(**asked: object) -> Reader:
    return lambda context: SearchService(context.settings, context.store).search(image_id="art:n01.png", **asked)


def canaries(context: StageContext) -> object:
    (fp12,) = context.store.files.folders("analysis/canaries/clip")
    return reference(context.store, "clip", fp12)


READERS: dict[str, tuple[str, Reader]] = {
    "ledger manifest": ("sources/art/manifests/*", lambda context: run_raw(context, BATCH)),
    "ledger part": ("sources/art/parts/*", lambda context: discover(context, "art", wait=False)),
    "raw manifest": (f"raw_images/{BATCH}/manifests/*", lambda context: run_rgb(context, BATCH)),
    "raw parts": (f"raw_images/{BATCH}/parts/*", lambda context: run_rgb(context, BATCH)),
    "raw, by its own run": (f"raw_images/{BATCH}/parts/*", lambda context: run_raw(context, BATCH)),
    "rgb manifest": (f"rgb_images/{BATCH}/manifests/*", embed),
    "rgb parts": (f"rgb_images/{BATCH}/parts/*", embed),
    "embeddings manifest": (f"embeddings/clip/*/{BATCH}/manifests/*", embed),
    "embeddings parts": (f"embeddings/clip/*/{BATCH}/parts/*", embed),
    "index manifest": ("indexes/clip/*/manifests/*", searched()),
    "index manifest, by a refresh": ("indexes/clip/*/manifests/*", lambda context: refresh_index(context, "clip")),
    "index.faiss": ("indexes/clip/*/segments/*/index.faiss", searched()),
    "vectors": ("indexes/clip/*/segments/*/vectors.npy", searched()),
    "rows": ("indexes/clip/*/segments/*/rows.parquet", searched()),
    "deletions": ("indexes/clip/*/deletions/*", searched()),
    "catalogue manifest": ("catalog/manifests/*", searched(where="title=jacket 1")),
    "catalogue file": ("catalog/files/*", searched(where="title=jacket 1")),
    "catalogue manifest, by a refresh": ("catalog/manifests/*", refresh_catalog),
    "clusters": ("analysis/near_duplicates/*/*", searched(fold=True)),
    "clusters, by themselves": ("analysis/near_duplicates/parts/*", lambda context: load_clusters(context.store)),
    "map": ("analysis/embedding_map/clip/parts/*.png", lambda context: read_picture(context.store, "clip")),
    "canaries": ("analysis/canaries/clip/*/parts/*", canaries),
    "registry": ("models/clip/manifests/*", searched()),
    "calibration": (
        "models/dino/calibration/*/manifests/*",
        lambda context: with_calibration(context.store, "dino", context.settings.models["dino"]),
    ),
}


def paths_of(ward: Ward, pattern: str) -> list[Path]:
    found = sorted(ward.data.glob(pattern))
    assert found
    return found


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("what", READERS)
def test_the_first_reader_of_a_damaged_file_says_so(ward: Ward, what: str) -> None:
    pattern, read = READERS[what]
    context = replace(ward.context, store=ward.store)
    read(context)  # all of it is remembered as checked
    paths = paths_of(ward, pattern)
    with undone(*paths):
        for path in paths:
            spoil(path)
        with pytest.raises(CorruptFile, match="embeddings verify") as raised:
            read(replace(ward.context, store=ward.store))
        assert any(path.name in str(raised.value) for path in paths)
    read(replace(ward.context, store=ward.store))


@pytest.mark.parametrize("pattern", [f"raw_images/{BATCH}/manifests/*", f"embeddings/clip/*/{BATCH}/manifests/*"])
def test_a_manifest_in_anothers_place_is_no_answer(ward: Ward, pattern: str) -> None:
    first, *_, newest = paths_of(ward, pattern)
    read = READERS["raw manifest" if "raw" in pattern else "embeddings manifest"][1]
    with undone(newest):
        newest.write_bytes(first.read_bytes())
        with pytest.raises(CorruptFile, match="its version is 1, not 3"):
            read(replace(ward.context, store=ward.store))


def test_a_batch_whose_manifest_is_damaged_holds_up_no_other(ward: Ward) -> None:
    """It stays in index and catalogue as it was taken in; its own run says what is wrong with it."""
    for place, refresh in [
        ("embeddings/clip/*", lambda context: refresh_index(context, "clip")),
        ("raw_images", refresh_catalog),
    ]:
        newest = max(ward.data.glob(f"{place}/{BATCH}/manifests/*"))
        said: list[str] = []
        with undone(newest):
            spoil(newest)
            report = refresh(replace(ward.context, store=ward.store, log=said.append))
            assert not report.changed, "what is damaged is not taken for removed"
        assert any("keeps a batch as it was taken in" in line and newest.name in line for line in said)


def test_a_damaged_catalogue_costs_a_search_without_conditions_nothing(ward: Ward) -> None:
    (newest, *_) = reversed(paths_of(ward, "catalog/manifests/*"))
    whole = READERS["rows"][1](ward.context)
    with undone(newest):
        spoil(newest)
        hits = searched()(replace(ward.context, store=ward.store)).hits  # type: ignore[attr-defined]
        assert [hit.image_id for hit in hits] == [hit.image_id for hit in whole.hits]  # type: ignore[attr-defined]


def test_rot_that_keeps_size_time_and_inode_is_verifys_to_find_and_then_everybodys(ward: Ward) -> None:
    store = ward.store
    catalogue = Catalogue(store)
    manifest = catalogue.latest()
    assert manifest is not None
    path = ward.data / catalogue.path(manifest.file)
    with catalogue.open(manifest):
        before = path.stat()
    with undone(path):
        with path.open("r+b") as file:
            file.seek(before.st_size // 2)
            byte = file.read(1)
            file.seek(before.st_size // 2)
            file.write(bytes([byte[0] ^ 1]))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        Catalogue(Store.open(ward.data, store.cache)).open(manifest).close()  # as the docs say
        assert [each.file for each in verify(ward.store)] == [catalogue.path(manifest.file)]
        with pytest.raises(CorruptFile):
            Catalogue(Store.open(ward.data, store.cache)).open(manifest)
    assert verify(ward.store) == []
