"""Random histories of an index, and the dict that says what it has to answer after each step.

The store is real: batches are committed, refreshed, compacted, rolled back, by one machine or another, and processes
die at the steps of a commit. What is remembered of it here are plain dicts.
"""

import random
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.ids import Key
from embeddings_dagster.index import Generation, Hit
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.compact import compact_index
from embeddings_dagster.stages.index_plan import Row
from embeddings_dagster.stages.index_versions import index_release, index_rollback
from embeddings_dagster.store import steps
from embeddings_dagster_tests.index.helpers import Vector, vector
from embeddings_dagster_tests.stages.index_world import IDENTITY, MODEL, World, make_world

IMAGES = [*(f"art:{name}" for name in "abcdefghijkl"), "art:%23 é.png", "art:ü#1", "art:日本 1.jpg"]
BATCHES = ["1", "2", "3", "10"]
STEPS = ["write:begun", "write:published", "segment:written", "deletions:written", "create:temporary",
         "create:linked", "manifest:created"]  # fmt: skip
TOLERANCE = 1e-6

Rows = dict[Key, Row]
Check = Callable[[Generation, Rows, random.Random], None]


class Killed(BaseException):
    """The process is dead; nothing but a new one goes on."""


@dataclass
class Batches:
    """What batches hold: image -> (region -> input hash, whether none of its regions failed), and their days."""

    content: dict[str, dict[str, tuple[dict[int, str], bool]]] = field(default_factory=dict)
    days: dict[str, int] = field(default_factory=dict)

    def winners(self) -> Rows:
        """The rows of the newest batch that has an image whole; where none has, of the newest."""
        rows: Rows = {}
        for image in IMAGES:
            having = [batch for batch, content in self.content.items() if image in content]
            if having:
                best = max(having, key=lambda each: (self.content[each][image][1], self.days.get(each, -1), each))
                for region, input_hash in self.content[best][image][0].items():
                    rows[Key(image, region)] = Row(input_hash, f"art__{best}")
        return rows


class History:
    """One index, and what it was at each of its generations. `check` compares the two: `exact` or `sound`; `change`
    makes the settings that all work with."""

    def __init__(
        self, root: Path, seed: int, check: Check, change: Callable[[Settings], Settings] = lambda settings: settings
    ) -> None:
        self._root, self._check, self._change = root, check, change
        self._random = random.Random(seed)
        self._world = self._open("cache")
        self._batches = Batches()
        self._rows: dict[int, Rows] = {0: {}}
        self._pinned = False
        self.done: list[str] = []

    def _open(self, cache: str) -> World:
        """A new process."""
        world = make_world(self._root, cache=cache)
        return replace(world, context=replace(world.context, settings=self._change(world.context.settings)))

    def step(self) -> None:
        """Do anything, and compare."""
        acts = {self._write: 10, self._age: 1, self._refresh: 8, self._compact: 5, self._roll_back: 1,
                self._release: 3, self._crash: 4, self._lose_cache: 1, self._look_back: 1}  # fmt: skip
        (act,) = self._random.choices(list(acts), list(acts.values()))
        self.done.append(act.__name__)
        act()

    @property
    def rows(self) -> Rows:
        """What the generation served holds."""
        return self._rows[self._newest()]

    def _newest(self) -> int:
        return max(self._world.generations.numbers(), default=0)

    def _machine(self) -> World:
        """Mostly the same; another one has a derived state of its own, which is of an older generation."""
        return self._open(self._random.choice(["cache"] * 6 + ["other"]))

    def _write(self) -> None:
        """Add, change, remove, bring back, or list again what another batch has, a few pictures at a time."""
        batch = self._random.choice(BATCHES)
        content = dict(self._batches.content.get(batch, {}))
        for image in self._random.sample(IMAGES, self._random.randint(1, 6)):
            if image in content and self._random.random() < 0.4:
                del content[image]
            else:
                version = self._random.choice("xyz")
                regions = self._random.sample(range(4), self._random.randint(1, 3))
                name = self._random.choice([image, image, "the same picture"])
                hashes = {region: f"{name}/{region}@{version}" for region in regions}
                content[image] = (hashes, self._random.random() < 0.85)
        self._batches.content[batch] = content
        failed = [Key(image, 9) for image, (_, clean) in content.items() if not clean]
        self._world.write(batch, {image: hashes for image, (hashes, _) in content.items()}, failed)

    def _age(self) -> None:
        batch, day = self._random.choice(BATCHES), self._random.randint(0, 5)
        self._batches.days[batch] = day
        self._world.age(**{batch: day})

    def _refresh(self) -> None:
        before = self._newest()
        self._machine().refresh()
        self._follow(before, self._batches.winners())
        if not self._pinned:
            assert self.rows == self._batches.winners()
        self._compare()

    def _compact(self) -> None:
        before = self._newest()
        compact_index(self._machine().context, MODEL, IDENTITY)
        self._follow(before, self._rows[before])
        self._compare()

    def _roll_back(self) -> None:
        numbers = self._world.generations.numbers()
        if len(numbers) > 1 and self._random.random() < 0.5:
            target = self._random.choice(numbers)
            made = index_rollback(self._world.context, MODEL, target)
            self._rows[made.version] = self._rows[target]
            self._pinned = True
        self._compare()

    def _release(self) -> None:
        if self._newest():
            before = self._newest()
            index_release(self._world.context, MODEL)
            self._follow(before, self._rows[before])
            self._pinned = False
        self._compare()

    def _crash(self) -> None:
        """A refresh or a compaction dies at a step of its commit, or finds nothing to commit."""
        refreshes = self._random.random() < 0.6
        if refreshes:
            self._write()
        before, machine = self._newest(), self._machine()
        with _killed_at(self._random.choice(STEPS), self._random.choice([1, 1, 1, 2, 3])):
            try:
                machine.refresh() if refreshes else compact_index(machine.context, MODEL, IDENTITY)
            except Killed:
                self.done[-1] += " (killed)"
        self._follow(before, self._batches.winners() if refreshes else self._rows[before])
        self._world = self._open("cache")
        self._compare()

    def _lose_cache(self) -> None:
        shutil.rmtree(self._root / self._random.choice(["cache", "other"]), ignore_errors=True)

    def _look_back(self) -> None:
        """An old generation still is what it was, whatever was merged since."""
        numbers = self._world.generations.numbers()
        if numbers:
            number = self._random.choice(numbers)
            opened = Generation.open(self._world.generations, self._world.generations.get(number))
            self._check(opened, self._rows[number], self._random)

    def _follow(self, before: int, rows: Rows) -> None:
        """Whatever was committed since `before` holds these rows."""
        for number in range(before + 1, self._newest() + 1):
            self._rows[number] = rows

    def _compare(self) -> None:
        if self._newest():
            self._check(self._world.open(), self.rows, self._random)


@contextmanager
def _killed_at(step: str, time: int) -> Iterator[None]:
    """Raise `Killed` where the process would die, and take nothing back: a dead process does not."""

    def die(*_: object) -> None:
        raise Killed(step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(steps.KILL_AT, f"{step}:{time}")
        patch.setattr("embeddings_dagster.store.steps.os.kill", die)
        patch.setattr("embeddings_dagster.stages.index_writing.IndexWriting.take_back", lambda *_: None)
        patch.setattr("embeddings_dagster.stages.compact._Compaction._take_back", lambda *_: None)
        steps._reached.clear()
        yield


def exact(generation: Generation, rows: Rows, random: random.Random) -> None:
    """Every answer is that of an exact search over the dict."""
    query = vector(f"query {random.random()}")
    assert generation.manifest.rows == len(rows)
    for hits, expected, k in _searches(generation, rows, query, random):
        _assert_sound(hits, expected, query)
        best = sorted((_score(row, query) for row in expected.values()), reverse=True)[:k]
        assert len(hits) == len(best)
        assert np.allclose([hit.score for hit in hits], best, rtol=0, atol=TOLERANCE)
    _assert_looked_up(generation, rows, random)


def sound(generation: Generation, rows: Rows, random: random.Random) -> None:
    """No answer is dead, foreign or twice, scores are exact, and a search for all that a condition leaves finds it:
    what an index that is not exact still promises."""
    query = vector(f"query {random.random()}")
    assert generation.manifest.rows == len(rows)
    for hits, expected, k in _searches(generation, rows, query, random):
        _assert_sound(hits, expected, query)
        if len(expected) < len(rows) / 2:
            assert len(hits) == min(k, len(expected))
    _assert_looked_up(generation, rows, random)


def _searches(
    generation: Generation, rows: Rows, query: Vector, random: random.Random
) -> Iterator[tuple[list[Hit], Rows, int]]:
    """Some searches: the hits, the rows they may come from, and how many were asked for."""
    batches = random.sample([f"art__{each}" for each in BATCHES], 2)
    images = random.sample(IMAGES, 4)
    whole = {key: row for key, row in rows.items() if key.region == 0}
    parts = {key: row for key, row in rows.items() if key.region > 0}
    of_batches = {key: row for key, row in rows.items() if row.batch in batches}
    others = {key: row for key, row in whole.items() if key.image_id not in images}
    select = generation.selection
    for k in (1, random.randint(2, 9), 1_000):
        yield generation.search(query, k), whole, k
        yield generation.search(query, k, select(regions="all")), rows, k
        yield generation.search(query, k, select(regions="parts", sources=["art"])), parts, k
        yield generation.search(query, k, select(regions="all", batches=batches)), of_batches, k
        yield generation.search(query, k, select(regions="all", sources=["shop"])), {}, k
        yield generation.search(query, k, without=images), others, k


def _score(row: Row, query: Vector) -> float:
    return float(vector(row.input_hash) @ query)


def _assert_sound(hits: list[Hit], expected: Rows, query: Vector) -> None:
    keys = [Key(hit.image_id, hit.region) for hit in hits]
    assert len(set(keys)) == len(keys), "a row is found twice"
    assert set(keys) <= expected.keys(), "a row is dead, or of no one"
    for key, hit in zip(keys, hits, strict=True):
        assert Row(hit.input_hash, hit.batch) == expected[key]
        assert hit.score == pytest.approx(_score(expected[key], query), abs=TOLERANCE)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def _assert_looked_up(generation: Generation, rows: Rows, random: random.Random) -> None:
    keys: Collection[Key] = [Key(random.choice(IMAGES), random.randint(0, 3)) for _ in range(6)]
    vectors, there = generation.vectors(list(keys))
    for key, found, present in zip(keys, vectors, there, strict=True):
        assert present == (key in rows)
        if present:
            assert np.array_equal(found, vector(rows[key].input_hash))
    assert sorted(generation.image_ids()) == sorted(key.image_id for key in rows if key.region == 0)
