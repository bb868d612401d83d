"""One project for all of these tests; each undoes what it does."""

import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from embeddings_dagster.stages import looks, settling
from embeddings_dagster_tests.cli.conftest import Command, command, isolate
from embeddings_dagster_tests.damage.patient import Patient, make_project
from embeddings_dagster_tests.damage.ward import Ward, make_ward
from embeddings_dagster_tests.shop import open_shop

__all__ = ["command"]


@pytest.fixture(scope="package")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with pytest.MonkeyPatch.context() as monkeypatch, open_shop() as shop:
        for name in [each for each in os.environ if each.startswith("EMBEDDINGS_")]:
            monkeypatch.delenv(name)
        for module in (looks, settling):
            monkeypatch.setattr(module, "APART", timedelta(0))
        yield make_ward(tmp_path_factory.mktemp("ward"), shop)


@pytest.fixture(scope="package")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch)
        monkeypatch.chdir(root)
        make_project(root)
    return root


@pytest.fixture
def patient(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Patient:
    """A copy of the project, as the current folder."""
    isolate(monkeypatch)
    root = tmp_path / "project"
    shutil.copytree(built, root)
    monkeypatch.chdir(root)
    return Patient(root, command)
