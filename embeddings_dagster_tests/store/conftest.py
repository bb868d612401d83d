from pathlib import Path

import pytest

from embeddings_dagster.store import Chain, Store
from embeddings_dagster_tests.store.helpers import chain_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "data", tmp_path / "cache")


@pytest.fixture
def chain(store: Store) -> Chain:
    return chain_of(store)
