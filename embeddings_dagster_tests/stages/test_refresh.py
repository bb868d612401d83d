"""Pictures of a catalogue from the shop to rgb_images: what a refresh asks, and a cache that is lost on the way."""

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from embeddings_dagster.settings import settings_from
from embeddings_dagster.settings_yaml import Document
from embeddings_dagster.stages import looks as looks_module
from embeddings_dagster.stages import settling as settling_module
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.refresh import refresh_downloads
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.store import Store
from embeddings_dagster_tests.shop import Shop, Versioned, open_shop, status, tiny_png

BATCH = "shop__000001"
COUNT = 4


@dataclass
class World:
    """A shop with `COUNT` pictures, and a project whose catalogue names them."""

    root: Path
    shop: Shop
    context: StageContext
    answers: dict[int, Versioned]
    lines: list[str] = field(default_factory=list)

    def make(self, **changes: object) -> tuple[int, int]:
        """Discovery, raw and rgb; how many failed in each of the two stages."""
        discover(self.context, "shop", wait=True)
        context = replace(self.context, **changes)
        return run_raw(context, BATCH).failed, run_rgb(context, BATCH).failed

    def pixels(self) -> dict[str, bytes]:
        chain = self.context.store.chain("rgb_images", BATCH)
        return {row["image_id"]: row["image"]["bytes"] for row in chain.rows(chain.latest()).to_pylist()}

    def refresh(self, **changes: object) -> tuple[int, ...]:
        found = refresh_downloads(replace(self.context, **changes), "shop")
        assert found.asked + found.skipped == COUNT
        return found.unchanged, found.changed, found.failed


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for module in (looks_module, settling_module):
        monkeypatch.setattr(module, "APART", timedelta(0))  # two looks at the catalogue, with no wait between them
    with open_shop() as shop:
        answers = {number: Versioned(tiny_png(number), f'"{number}"') for number in range(COUNT)}
        for number, answer in answers.items():
            shop[f"/{number}"] = answer
        rows = "".join(f"{number},{shop.url(f'/{number}')}\n" for number in range(COUNT))
        (tmp_path / "shop.csv").write_text(f"id,image_url\n{rows}")
        download = {"private_hosts": [shop.host], "retries": 0}
        told = {"sources": {"shop": {"kind": "catalog", "path": "shop.csv", "download": download}}}
        settings = settings_from(Document("embeddings.yaml", told, {}), root=tmp_path)
        lines: list[str] = []
        store = Store.open(settings.data_root, settings.cache_root)
        context = StageContext(settings, store, "run", lines.append, stop=threading.Event())
        yield World(tmp_path, shop, context, answers, lines)


def test_a_cache_that_is_lost_between_the_stages_heals_with_the_pictures_of_now(world: World) -> None:
    """The row of raw_images is of a picture that is nowhere any more: to run again has to find the new one."""
    discover(world.context, "shop", wait=True)
    assert run_raw(world.context, BATCH).processed == COUNT
    shutil.rmtree(world.context.settings.image_cache("shop"))
    world.answers[2].set(tiny_png(102), '"102"')
    lost = run_rgb(world.context, BATCH)
    assert [(each.image_id, each.error_class) for each in lost.failures] == [("shop:2", "RawChanged")]
    world.answers[3].set(tiny_png(103), '"103"')  # for the next refresh: it is not fetched now
    assert world.make() == (0, 0)
    assert len(world.pixels()) == COUNT
    assert world.shop.counts == {f"/{number}": 2 for number in range(COUNT)}, "each once for the new cache"
    assert world.make() == (0, 0)


def test_a_shop_that_is_closed_when_the_cache_is_lost_is_waited_for(world: World) -> None:
    discover(world.context, "shop", wait=True)
    run_raw(world.context, BATCH)
    shutil.rmtree(world.context.settings.image_cache("shop"))
    world.shop["/1"] = status(503)
    assert run_rgb(world.context, BATCH).failed == 1
    world.shop["/1"] = Versioned(tiny_png(101), '"101"')
    assert run_rgb(world.context, BATCH).failures[0].error_class == "RawChanged"
    assert world.make() == (0, 0)


def test_a_cache_that_is_lost_costs_nothing_where_all_is_made(world: World) -> None:
    assert world.make() == (0, 0)
    shutil.rmtree(world.context.settings.image_cache("shop"))
    assert world.make() == (0, 0)
    assert world.shop.counts.total() == COUNT


def test_a_refresh_counts_and_logs_what_it_found(world: World) -> None:
    world.make()
    before = world.pixels()
    world.answers[1].set(tiny_png(101), '"101"')
    world.shop["/2"] = status(404)
    assert world.refresh() == (2, 1, 1)
    said = "\n".join(world.lines)
    assert "source shop: 4 pictures asked for again: 2 unchanged, 1 changed, 1 failed" in said
    assert f"source shop: {world.shop.url('/2')}: answered 404" in said
    assert world.make() == (0, 0)
    after = world.pixels()
    assert [key for key in before if after[key] != before[key]] == ["shop:1"]


def test_a_refresh_asks_nobody_where_nothing_may_be_downloaded(world: World) -> None:
    world.make()
    assert world.refresh(download=False) == (0, 0, 0)
    assert world.shop.counts.total() == COUNT
