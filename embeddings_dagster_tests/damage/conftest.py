"""One project for all of these tests; each undoes what it does."""

import os
from collections.abc import Iterator
from datetime import timedelta

import pytest

from embeddings_dagster.stages import looks, settling
from embeddings_dagster_tests.damage.ward import Ward, make_ward
from embeddings_dagster_tests.shop import open_shop


@pytest.fixture(scope="package")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with pytest.MonkeyPatch.context() as monkeypatch, open_shop() as shop:
        for name in [each for each in os.environ if each.startswith("EMBEDDINGS_")]:
            monkeypatch.delenv(name)
        for module in (looks, settling):
            monkeypatch.setattr(module, "APART", timedelta(0))
        yield make_ward(tmp_path_factory.mktemp("ward"), shop)
