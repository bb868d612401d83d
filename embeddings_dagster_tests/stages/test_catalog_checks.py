"""The checks notice what is missing, outdated or too much, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from embeddings_dagster.stages.catalog_checks import (
    catalog_consumed_is_current,
    catalog_lag,
    catalog_rows_equal_live_rows,
    catalog_status,
)
from embeddings_dagster.stages.verify import verify
from embeddings_dagster_tests.stages.catalog_world import CatalogWorld, Item, make_catalog_world


def items(*names: str, version: int = 1) -> dict[str, Item]:
    return {f"art:{name}": Item({"n": version}) for name in names}


@pytest.fixture
def world(tmp_path: Path) -> CatalogWorld:
    world = make_catalog_world(tmp_path)
    world.age(old=1, new=2)
    world.write("old", items("a", "b"))
    world.write("new", items("b", "c"))
    world.refresh()
    return world


def test_both_pass_after_a_refresh(world: CatalogWorld) -> None:
    consumed, rows = catalog_consumed_is_current(world.store), catalog_rows_equal_live_rows(world.store)
    assert (consumed.passed, consumed.description) == (True, "all 2 batches are in")
    assert (rows.passed, rows.description) == (True, "3 pictures, as many as are live")
    status = catalog_status(world.store)
    assert status is not None
    assert (status.generation, status.rows, status.images, status.batches, status.why) == (1, 3, 3, 2, "")


def test_both_name_what_changed_since(world: CatalogWorld) -> None:
    world.write("new", {**items("b", version=2), **items("d", "e")})
    consumed = catalog_consumed_is_current(world.store)
    assert (consumed.passed, consumed.detail["stale_batches"]) == (False, ["art__new"])
    assert consumed.description == "1 of 2 batches changed since"
    rows = catalog_rows_equal_live_rows(world.store)
    assert (rows.passed, rows.description) == (False, "2 missing, 1 outdated, 1 superfluous")


def test_before_the_first_refresh_there_is_everything_to_do(tmp_path: Path) -> None:
    world = make_catalog_world(tmp_path)
    assert catalog_consumed_is_current(world.store).passed
    assert catalog_status(world.store) is None
    world.write("1", items("a"))
    assert catalog_consumed_is_current(world.store).description == "there is none yet"
    assert catalog_rows_equal_live_rows(world.store).detail["missing"] == 1


def test_a_file_that_is_gone_makes_it_stale(world: CatalogWorld) -> None:
    Path(world.store.root, "catalog", "files", world.files()[0]).unlink()
    lag = catalog_lag(world.store)
    assert (lag.stale, lag.behind, lag.why) == ([], True, "its file is gone, or of an older release")
    assert not catalog_consumed_is_current(world.store).passed


def test_rows_are_counted_and_not_believed(world: CatalogWorld) -> None:
    base = world.catalogue.latest()
    assert base is not None
    world.catalogue.commit(base, replace(base, rows=7))
    assert catalog_rows_equal_live_rows(world.store).description == "its manifest counts other rows than it holds"


def test_checking_leaves_nothing_behind(world: CatalogWorld) -> None:
    before = sorted(world.store.cache.rglob("*"))
    catalog_rows_equal_live_rows(world.store)
    assert sorted(world.store.cache.rglob("*")) == before


def test_verify_finds_every_kind_of_damage(world: CatalogWorld) -> None:
    assert verify(world.store) == []
    file = Path(world.store.root, "catalog", "files", world.files()[0])
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    [problem] = verify(world.store)
    assert (problem.dataset, problem.file) == ("catalog", f"catalog/files/{file.name}")
    assert "makes it anew, from raw_images" in problem.remedy
    file.unlink()
    assert "is missing" in verify(world.store)[0].reason
    file.write_bytes(whole)
    manifest = Path(world.store.root, world.catalogue.versions.path(1))
    manifest.write_bytes(manifest.read_bytes().replace(b'"rows": 3', b'"rows": 4'))
    assert [each.file for each in verify(world.store)] == ["catalog/manifests/00000001.json"]
