"""The small project, and looks at files that need no two seconds between them."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from embeddings_dagster.stages import looks as looks_module
from embeddings_dagster.stages import settling as settling_module
from embeddings_dagster_tests.stages.library import Library
from embeddings_dagster_tests.stages.small_project import SmallProject, small_project


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("EMBEDDINGS_")]:
        monkeypatch.delenv(name)
    for module in (looks_module, settling_module):
        monkeypatch.setattr(module, "APART", timedelta(0))


@pytest.fixture
def small(tmp_path: Path, _hasty: None) -> SmallProject:
    return small_project(tmp_path)


@pytest.fixture
def library(tmp_path: Path, _hasty: None) -> Library:
    return Library(tmp_path)
