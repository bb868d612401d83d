"""Scraped batches come in through the sensor: each in its turn, once, whatever happens to runs, daemon and files."""

import json
import os
import random
import shutil
import threading
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml

from embeddings_dagster.defs.behind import behind, in_order, ledger_batches, raw_heads
from embeddings_dagster.defs.looking import look
from embeddings_dagster.defs.partitions import known_keys
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.settings import Settings, load_settings
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster_tests.defs.making import make_picture
from embeddings_dagster_tests.defs.ticking import Ticking

NEW_YEAR = datetime(2026, 1, 1)
BOUND = 3


class Shop:
    """A folder that a scraper leaves batches in, one item each; a batch's number says when it was scraped."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "shop"
        self.folder.mkdir()
        self._clock = 10**18

    def put(self, number: int, title: str = "A", *, written: int | None = None) -> int:
        """Write a batch, or write it anew; returns the mtime of its file, and takes one to restore it by."""
        folder = self.folder / f"batch-{number:03}"
        if not folder.exists():
            make_picture(folder / "0.png", number)
        scraped_at = (NEW_YEAR + timedelta(days=number)).isoformat()
        item = {"item_id": f"item-{number}", "title": title, "price": 1, "url": "u", "local_image_paths": ["0.png"]}
        (folder / "batch.json").write_text(json.dumps({"scraped_at": scraped_at, "items": [item]}))
        self._clock += 10**9
        moment = written or self._clock
        os.utime(folder / "batch.json", ns=(moment, moment))
        return moment

    def drop(self, number: int) -> None:
        shutil.rmtree(self.folder / f"batch-{number:03}")

    @staticmethod
    def key(number: int) -> str:
        return f"shop__batch-{number:03}"


def make_settings(root: Path, **dagster: object) -> Settings:
    document = {
        "sources": {"shop": {"kind": "scraped", "path": "shop"}},
        "models": {"dino": {"kind": "dino", "model": "bundled:dino"}},
        "dagster": {"retry_seconds": 0, "sensor_batches": BOUND, **dagster},
    }
    (root / "embeddings.yaml").write_text(yaml.safe_dump(document))
    return load_settings(root / "embeddings.yaml")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


class World:
    """A shop, its sensor, and what the daemon and its runs do; everything that happened is in `told`."""

    def __init__(self, shop: Shop, project: Project, instance: dg.DagsterInstance) -> None:
        self.shop, self.project, self.instance = shop, project, instance
        self.stage = project.stage_context("by-hand", lambda line: None, threading.Event())
        self.ticking = Ticking(project, instance)
        self.there: dict[int, tuple[str, int]] = {}
        self.gone: dict[int, tuple[str, int]] = {}
        self.under_way: list[dg.DagsterRun] = []
        self.succeeded: Counter[tuple[str, str]] = Counter()
        self.told: list[str] = []
        self.appear(2)

    def appear(self, count: int) -> None:
        for _ in range(count):
            number = len(self.there) + len(self.gone)
            self.there[number] = ("A", self.shop.put(number))

    def change(self, number: int) -> None:
        self.there[number] = ("B", self.shop.put(number, "B"))

    def change_back(self, number: int, before: tuple[str, int]) -> None:
        self.there[number] = before
        self.shop.put(number, before[0], written=before[1])

    def remove(self, number: int) -> None:
        self.gone[number] = self.there.pop(number)
        self.shop.drop(number)

    def reappear(self, number: int) -> None:
        self.there[number] = self.gone.pop(number)
        self.shop.put(number, self.there[number][0])

    def tick(self, *, crash: bool = False) -> int:
        """One tick; with `crash` the daemon dies before it has done anything of it."""
        before = set(known_keys(self.instance))
        asked = self.ticking()
        batches = ledger_batches(self.project.store, ["shop"])
        keys = [request.partition_key or "" for request in self.ticking.requests]
        assert len(asked) <= BOUND, self.told
        assert keys == in_order(batches, keys), self.told
        busy = {run.tags["dagster/partition"] for run in self.under_way}
        assert not busy & {*keys}, self.told
        if len(keys) < BOUND:
            left = behind(raw_heads(self.project.store, batches), batches) - busy - {*keys}
            assert not left, (left, self.told)
        self.told.append(f"tick: {asked}{' crashed' if crash else ''}")
        if crash:
            for key in known_keys(self.instance) - before:
                self.instance.delete_dynamic_partition("image_batches", key)
            return 0
        self.under_way += self.ticking.launch()
        return len(asked)

    def end(self, run: dg.DagsterRun, how: str) -> None:
        """A run ends: it succeeds, fails before it did anything, or fails after `raw_images` was committed."""
        self.under_way.remove(run)
        if how != "fails":
            run_raw(self.stage, run.tags["dagster/partition"])
        self.told.append(f"{run.tags['dagster/run_key']} {how}")
        if how == "succeeds":
            self.succeeded[run.tags["dagster/partition"], run.tags["embeddings/since"]] += 1
            event = dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_SUCCESS.value, job_name=run.job_name)
            self.instance.report_dagster_event(event, run.run_id)
        else:
            self.instance.report_run_failed(run)

    def drain(self) -> None:
        """Let everything come to rest."""
        for _ in range(200):
            asked = self.tick()
            if not asked and not self.under_way:
                return
            for run in list(self.under_way):
                self.end(run, "succeeds")
        raise AssertionError(f"it never comes to rest: {self.told}")


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_every_batch_is_brought_up_to_date_in_its_turn_and_once(
    shop: Shop, project: Project, instance: dg.DagsterInstance, looks_at_once: None, seed: int
) -> None:
    chance = random.Random(seed)
    world = World(shop, project, instance)
    befores: dict[int, tuple[str, int]] = {}
    for _ in range(30):
        step = chance.choice(["appear", "change", "back", "remove", "return", "tick", "tick", "end", "end", "daemon"])
        number = chance.choice(sorted(world.there))
        if step == "appear":
            world.appear(chance.randint(1, 5))
        elif step == "change":
            befores.setdefault(number, world.there[number])
            world.change(number)
        elif step == "back" and befores.keys() & world.there.keys():
            number = min(befores.keys() & world.there.keys())
            world.change_back(number, befores.pop(number))
        elif step == "remove" and len(world.there) > 1:
            world.remove(number)
        elif step == "return" and world.gone:
            world.reappear(min(world.gone))
        elif step == "tick":
            world.tick(crash=chance.random() < 0.2)
        elif step == "end" and world.under_way:
            world.end(chance.choice(world.under_way), chance.choice(["succeeds", "fails", "fails late"]))
        elif step == "daemon":
            world.ticking = Ticking(project, instance)
            if chance.random() < 0.3:
                shutil.rmtree(project.store.cache, ignore_errors=True)
        world.told.append(f"{step} {number}")
    world.drain()
    batches = ledger_batches(project.store, ["shop"])
    assert behind(raw_heads(project.store, batches), batches) == set()
    assert {key for key, entry in batches.items() if entry.live} == {shop.key(number) for number in world.there}
    assert {shop.key(number) for number in world.there} <= known_keys(instance)
    assert max(world.succeeded.values()) == 1, world.told


def test_batches_are_partitions_and_runs_within_one_tick_the_oldest_first(
    shop: Shop, project: Project, instance: dg.DagsterInstance, looks_at_once: None
) -> None:
    """Their names say nothing of their age: batch 7 was scraped before batch 9."""
    for number in (9, 7, 8, 5):
        shop.put(number)
    ticking = Ticking(project, instance)
    assert ticking() == [f"shop__batch-00{number}:1:0" for number in (5, 7, 8)]
    assert known_keys(instance) == {shop.key(number) for number in (5, 7, 8, 9)}
    ticking.launch()
    assert ticking() == ["shop__batch-009:1:0"]


def test_a_batch_that_is_found_later_and_is_older_comes_first(
    shop: Shop, project: Project, instance: dg.DagsterInstance, looks_at_once: None
) -> None:
    for number in (3, 4, 5, 6):
        shop.put(number)
    ticking = Ticking(project, instance)
    ticking()
    shop.put(1)
    assert Ticking(project, instance).requests_now()[0].partition_key == shop.key(1)


def test_the_runs_a_tick_asks_for_bring_the_batches_up_to_date(
    shop: Shop, project: Project, instance: dg.DagsterInstance, looks_at_once: None
) -> None:
    for number in range(2):
        shop.put(number)
    ticking = Ticking(project, instance)
    assert len(ticking()) == 2
    job = ticking.repository.get_job("embed_batches")
    for request in ticking.requests:
        done = job.execute_in_process(
            partition_key=request.partition_key,
            tags={**request.tags, "dagster/run_key": str(request.run_key)},
            instance=instance,
        )
        assert done.success
    assert ticking() == []
    following = Ticking(project, instance, "follow_embeddings")
    assert sorted(key.partition(":")[0] for key in following()) == ["dino", "search_catalog"]
    made = instance.get_materialized_partitions(dg.AssetKey("dino_embeddings"))
    assert made == {shop.key(0), shop.key(1)}


def test_a_batch_that_stays_broken_is_told_in_the_log_of_the_tick_and_in_its_reason(
    shop: Shop, project: Project, instance: dg.DagsterInstance, looks_at_once: None
) -> None:
    moment = shop.put(1)
    (shop.folder / "batch-001" / "batch.json").write_text('{"items": [')
    os.utime(shop.folder / "batch-001" / "batch.json", ns=(moment, moment))
    ticking = Ticking(project, instance)
    assert ticking() == []
    assert "problems in the sources: 1," in ticking.skipped
    lines: list[str] = []
    look(project, "by-hand", lines.append, sources=["shop"])
    (line,) = [line for line in lines if "batch.json" in line]
    assert line.startswith("source shop: batch-001/batch.json: is not JSON")


def test_of_many_problems_the_log_of_a_tick_tells_the_first(
    shop: Shop, project: Project, instance: dg.DagsterInstance, looks_at_once: None
) -> None:
    for number in range(25):
        moment = shop.put(number)
        (shop.folder / f"batch-{number:03}" / "batch.json").write_text("[")
        os.utime(shop.folder / f"batch-{number:03}" / "batch.json", ns=(moment, moment))
    lines: list[str] = []
    look(project, "by-hand", lines.append, sources=["shop"])
    assert len([line for line in lines if "is not JSON" in line]) == 20
    assert lines[-1] == "source shop: 5 more; `embeddings plan` tells them all"
