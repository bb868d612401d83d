from pathlib import Path

import pytest

from embeddings_dagster_tests.exports.shelf import Shelf, make_shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return make_shelf(tmp_path)
