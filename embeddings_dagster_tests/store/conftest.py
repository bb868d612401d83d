"""Every test that asks for a store runs twice: in a folder, and in a bucket. One that is about disks alone says so,
with the reason: `@pytest.mark.local_disk("…")`."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from embeddings_dagster.store import Chain, Store
from embeddings_dagster_tests.store.helpers import chain_of
from embeddings_dagster_tests.store.places import InBucket, OnDisk, Place, open_at


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        on_disk_alone = any(metafunc.definition.iter_markers("local_disk"))
        metafunc.parametrize("place", ["local"] if on_disk_alone else ["local", "s3"], indirect=True)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return OnDisk(tmp_path)
    return InBucket(tmp_path, request.getfixturevalue("s3").new_root())


@pytest.fixture
def store(place: Place) -> Store:
    return open_at(place)


@pytest.fixture
def new_store(place: Place) -> Callable[[], Store]:
    """Makes a store that has nothing in it, each time."""
    numbers = itertools.count()

    def make() -> Store:
        number = next(numbers)
        return Store.open(f"{place.root}-{number}", place.folder / f"cache-{number}")

    return make


@pytest.fixture
def chain(store: Store) -> Chain:
    return chain_of(store)
