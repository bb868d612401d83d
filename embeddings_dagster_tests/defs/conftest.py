"""A small real project on disk, a fresh real Dagster instance, and `dagster` as a user calls it."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from embeddings_dagster.defs.resources import Project
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages import looks as looks_module
from embeddings_dagster.stages import settling as settling_module
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster_tests.defs.making import make_pictures, make_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Six pictures in a folder, two a batch: pics__000001, pics__000002, pics__000003; one model."""
    make_pictures(tmp_path / "pics", 6)
    return make_settings(tmp_path)


@pytest.fixture
def project(settings: Settings) -> Project:
    return Project(settings)


@pytest.fixture
def stage(project: Project) -> StageContext:
    return project.stage_context("by-hand", lambda line: None, threading.Event())


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """A fresh instance on SQLite in a DAGSTER_HOME of its own."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.from_config(str(home)) as opened:
        yield opened


@pytest.fixture
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks at a file still are two, but need no two seconds between them."""
    monkeypatch.setattr(looks_module, "APART", timedelta(0))
    monkeypatch.setattr(settling_module, "APART", timedelta(0))
