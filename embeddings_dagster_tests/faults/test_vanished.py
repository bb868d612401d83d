"""A source that is not there concludes nothing: its rows stay, the others go on, and when it is back nothing is made
again."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from embeddings_dagster.defs.looking import Looker
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.errors import SourceError
from embeddings_dagster.settings import load_settings
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster_tests.cli.conftest import PICTURES, SAMPLE, Command
from embeddings_dagster_tests.faults.projects import rows_of, store_of
from embeddings_dagster_tests.shop import Shop, open_shop
from embeddings_dagster_tests.stages.small_project import BATCH, small_project

SETTINGS = """\
sources:
  art: {kind: folder, path: disk/art}
  near: {kind: folder, path: near}
  shop: {kind: catalog, path: disk/shop.csv, download: {private_hosts: [127.0.0.1], retries: 0}}
  found: {kind: scraped, path: disk/found}
  comics: {kind: comics, path: disk/specs, images: disk/art}
models: {}
"""


@pytest.fixture
def shop() -> Iterator[Shop]:
    with open_shop() as opened:
        yield opened


@pytest.fixture
def root(tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source of each kind on `disk`, and one beside it."""
    root = tmp_path / "project"
    for folder in ("disk/art", "near"):
        (root / folder).mkdir(parents=True)
        for each in PICTURES:
            shutil.copy2(SAMPLE / each, root / folder)
    (root / "disk" / "shop.csv").write_text(f"id,image_url\n1,{shop.url('/many/1.png')}\n2,{shop.url('/many/2.png')}\n")
    batch = root / "disk" / "found" / "monday"
    (batch / "images").mkdir(parents=True)
    shutil.copy2(SAMPLE / PICTURES[0], batch / "images" / "1.png")
    (batch / "items.json").write_text(json.dumps([{"id": "1", "images": ["images/1.png"]}]))
    (root / "disk" / "specs" / "Book").mkdir(parents=True)
    page = {"page_image_path": "E:\\\\lib\\\\pizza.png", "panels": []}
    (root / "disk" / "specs" / "Book" / "1.json").write_text(json.dumps(page))
    (root / "embeddings.yaml").write_text(SETTINGS)
    monkeypatch.chdir(root)
    return root


def rename(place: Path) -> Callable[[], object]:
    away = place.with_name(f"{place.name} elsewhere")
    place.rename(away)
    return lambda: away.rename(place)


def empty(place: Path) -> Callable[[], object]:
    """As a mount point looks when nothing is mounted on it."""
    back = rename(place)
    place.mkdir()

    def again() -> None:
        place.rmdir()
        back()

    return again


WAYS = [(rename, "disk"), (empty, "disk/art"), (rename, "disk/shop.csv"), (empty, "disk/specs"), (empty, "disk"),
        (rename, "disk/specs"), (rename, "disk/found"), (empty, "disk/found")]  # fmt: skip


@pytest.mark.parametrize("ways", [3, pytest.param(len(WAYS), marks=pytest.mark.torture)], ids=["some", "all"])
def test_whatever_vanishes_its_rows_stay_and_the_others_go_on(root: Path, command: Command, ways: int) -> None:
    first = command("run", "--json")
    assert first.code == 0, first.err
    sources = {each["source"]: each for each in json.loads(first.out)["sources"]}
    assert {name: each["total"] for name, each in sources.items()} == {
        "art": 5, "near": 5, "shop": 2, "found": 1, "comics": 1,
    }  # fmt: skip
    before = rows_of(store_of(root))
    for take, what in WAYS[:ways]:
        shutil.copy2(SAMPLE / PICTURES[0], root / "near" / f"after {take.__name__} {what.replace('/', ' ')}.png")
        back = take(root / what)
        gone = command("run", "--json")
        found = {name: rows.keys() for name, rows in rows_of(store_of(root)).items()}
        back()
        told = json.loads(gone.out)
        assert gone.code == 1, (what, gone.out, gone.err)
        assert told["problems"], what
        assert all("removed" in each or "run again" in each for each in told["problems"]), told["problems"]
        for name, rows in before.items():
            assert rows.keys() <= found[name], (take.__name__, what, "a row went")
        [near] = [each for each in told["sources"] if each["source"] == "near"]
        assert near["processed"] == 1, (what, "the others go on")
    again = command("run", "--json")
    told = json.loads(again.out)
    assert again.code == 0, again.err
    assert [each["processed"] for each in told["sources"]] == [0, 0, 0, 0, 0], "it is back, and nothing is made again"


def test_a_tick_that_finds_nothing_concludes_nothing(root: Path, command: Command) -> None:
    assert command("run").code == 0
    before = rows_of(store_of(root))
    back = rename(root / "disk")
    project = Project(load_settings(root / "embeddings.yaml"))
    looked = Looker(project).look("tick", lambda line: None, ["art", "near", "found"], full=False)
    back()
    assert looked.problems.keys() == {"art", "found"}
    assert looked.found.keys() == {"near"}
    assert [entry.live for entry in store_of(root).ledger("art").latest().batches.values()] == [5]  # type: ignore[union-attr]
    assert rows_of(store_of(root)) == before


def test_a_root_that_goes_in_the_middle_of_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = small_project(tmp_path)
    (project.pics / "more").mkdir()
    project.paint("more/e.png", "white")
    project.step("first")
    listed: list[object] = []
    real = os.scandir

    def scandir(path: str) -> object:
        listed.append(path)
        if len(listed) == 2:
            project.pics.rename(tmp_path / "elsewhere")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(SourceError, match="cannot be listed"):
        project.discover("second")
    monkeypatch.undo()
    (tmp_path / "elsewhere").rename(project.pics)
    assert sum(entry.live for entry in project.store.ledger("pics").latest().batches.values()) == 4  # type: ignore[union-attr]


def test_a_root_that_goes_between_the_scan_and_the_reading(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    project.step("first")
    project.paint("d.png", "white")
    project.discover("second")
    project.pics.rename(tmp_path / "elsewhere")
    context: StageContext = replace(project.context, run_id="second", stop=threading.Event())
    done = run_raw(context, BATCH)
    assert (done.processed, done.skipped, done.failed, done.removed) == (0, 2, 2, 0)
    assert [(each.image_id, each.error_class, each.retryable) for each in done.failures] == [
        ("pics:c.png", "FormatNotAllowed", False), ("pics:d.png", "ReadFailed", True),
    ]  # fmt: skip
    (tmp_path / "elsewhere").rename(project.pics)
    discover(context, "pics", wait=True)
    done = run_raw(replace(context, run_id="third"), BATCH)
    assert (done.processed, done.skipped, done.failed) == (1, 2, 1)
