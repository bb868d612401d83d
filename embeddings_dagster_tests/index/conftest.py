from pathlib import Path

import pytest

from embeddings_dagster.index import Generations
from embeddings_dagster.store import Store
from embeddings_dagster_tests.index.helpers import generations_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "data", tmp_path / "cache")


@pytest.fixture
def generations(store: Store) -> Generations:
    return generations_of(store)
