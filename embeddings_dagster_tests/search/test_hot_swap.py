"""Searches while generations come and go: no query is lost, and each is answered by one generation, whole."""

import threading
from pathlib import Path

import pytest

from embeddings_dagster.errors import MissingFile
from embeddings_dagster.index import GenerationManifest, Generations
from embeddings_dagster.search import SearchService
from embeddings_dagster.search import opened as opened_module
from embeddings_dagster.search.opened import OpenedIndexes
from embeddings_dagster.stages.compact import compact_index
from embeddings_dagster.stages.index_versions import index_release, index_rollback
from embeddings_dagster_tests.index.helpers import vector
from embeddings_dagster_tests.stages.index_world import IDENTITY, MODEL, World, make_world

ROUNDS = 12
IMAGES = [f"art:{number}" for number in range(20)]
QUERY = vector("q")

Answer = tuple[int, frozenset[tuple[str, int, float]]]  # the generation, and every row with its score
Found = frozenset[tuple[str, int, float]]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(opened_module, "LOOK_SECONDS", 0.0)
    return make_world(tmp_path)


class Committing:
    """Commits generations, remembers what each of them answers, and deletes what the newest does not need."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answers: dict[int, Found] = {}

    def round(self, number: int) -> None:
        """Every vector changes, so that an answer of two generations shows; then merges, a rollback, a release."""
        hashes = {image: {0: f"{image}@{number}", 1: f"{image}/1@{number}"} for image in IMAGES[: 10 + number % 10]}
        self.world.write("1", hashes)
        self.world.write("2", {f"art:new{number}": {0: f"new@{number}"}})
        self._committed(hashes | {f"art:new{number}": {0: f"new@{number}"}}, self.world.refresh().generation)
        if number % 4 == 3:
            made = index_rollback(self.world.context, MODEL)
            self.answers[made.version] = self.answers[made.restores or 0]
            released = index_release(self.world.context, MODEL)
            self.answers[released.version] = self.answers[made.version]
        report = compact_index(self.world.context, MODEL, IDENTITY)
        if report.merges:
            assert report.generation is not None
            self.answers[report.generation] = self.answers[report.generation - 1]
        self.clean()

    def _committed(self, hashes: dict[str, dict[int, str]], generation: int | None) -> None:
        assert generation is not None
        self.answers[generation] = frozenset(
            (image, region, round(float(vector(name) @ QUERY), 5))
            for image, regions in hashes.items()
            for region, name in regions.items()
        )

    def clean(self) -> None:
        """What gc may do at the worst: nothing but the newest generation is kept."""
        generations = self.world.generations
        newest = generations.latest()
        assert newest is not None
        kept = generations.referenced(newest)
        for number in generations.numbers():
            if number != newest.version:
                for path in generations.referenced(generations.get(number)) - kept:
                    if "/manifests/" not in path:
                        self.world.store.files.delete(path)


class Searching(threading.Thread):
    """Searches until it is told to stop, keeping every answer and what went wrong."""

    def __init__(self, done: threading.Event) -> None:
        super().__init__(daemon=True)
        self._done = done
        self.answers: list[Answer] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._done.is_set():
                self.answers.append(self.search())
        except BaseException as error:
            self.error = error

    def search(self) -> Answer:
        raise NotImplementedError


class Direct(Searching):
    """Holds a generation for two searches, as a search with several terms does."""

    def __init__(self, done: threading.Event, indexes: OpenedIndexes) -> None:
        super().__init__(done)
        self._indexes = indexes

    def search(self) -> Answer:
        opened = self._indexes.get(MODEL)
        every = opened.generation.selection(regions="all")
        first, again = (opened.generation.search(QUERY, 1_000, every) for _ in range(2))
        assert first == again
        return opened.number, frozenset((hit.image_id, hit.region, round(hit.score, 5)) for hit in first)


class ByVector(Searching):
    """Asks the service."""

    def __init__(self, done: threading.Event, service: SearchService) -> None:
        super().__init__(done)
        self._service = service

    def search(self) -> Answer:
        found = self._service.search(vector=QUERY, k=1_000, regions="all", group=False)
        return found.generation, frozenset((hit.image_id, hit.region, round(hit.score, 5)) for hit in found.hits)


def test_no_query_is_lost_and_each_sees_one_generation(world: World) -> None:
    committing = Committing(world)
    committing.round(0)
    indexes, service, done = (
        OpenedIndexes(world.store),
        SearchService(world.context.settings, world.store),
        threading.Event(),
    )
    other = make_world(Path(world.store.root).parent, cache="other")  # a server on another machine
    threads: list[Searching] = [
        Direct(done, indexes),
        ByVector(done, service),
        Direct(done, OpenedIndexes(other.store)),
    ]
    for thread in threads:
        thread.start()
    for number in range(1, ROUNDS):
        committing.round(number)
    done.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
        if thread.error is not None:
            raise thread.error
    answered = [answer for thread in threads for answer in thread.answers]
    assert len({generation for generation, _ in answered}) > 3, "the generations changed under the searches"
    for generation, found in answered:
        _assert_same(found, committing.answers[generation])


def _assert_same(found: Found, expected: Found) -> None:
    """Scores were rounded, and may have been rounded to either side."""
    rows = {(image, region): score for image, region, score in expected}
    assert {(image, region) for image, region, _ in found} == rows.keys()
    assert all(score == pytest.approx(rows[image, region], abs=3e-5) for image, region, score in found)


def test_a_generation_that_goes_while_it_is_opened_is_followed_by_the_newer_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the listing and the opening a refresh commits, and gc takes the files of the one that was listed."""
    committing = Committing(world)
    committing.round(0)
    indexes = OpenedIndexes(world.store)
    assert indexes.get(MODEL).number == 1
    committing.round(1)
    get, raced = Generations.get, []

    def race(self: Generations, number: int) -> GenerationManifest:
        manifest = get(self, number)
        if not raced:
            raced.append(number)
            committing.round(2)
        return manifest

    monkeypatch.setattr(Generations, "get", race)
    opened = indexes.get(MODEL)
    assert (raced, opened.number) == ([2], 3)
    assert indexes.get(MODEL).generation is opened.generation


def test_a_newest_generation_without_its_files_is_an_error_that_names_one(world: World) -> None:
    committing = Committing(world)
    committing.round(0)
    newest = world.generations.latest()
    assert newest is not None
    path = world.generations.path(newest.segments[0].path("rows.parquet"))
    world.store.files.delete(path)
    with pytest.raises(MissingFile, match=newest.segments[0].uuid):
        OpenedIndexes(world.store).get(MODEL)
