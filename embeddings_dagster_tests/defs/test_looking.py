"""A tick's look at the sources: one that fails or takes long costs the others nothing."""

import os
import threading
from pathlib import Path

import dagster as dg
import pytest

from embeddings_dagster.defs import looking
from embeddings_dagster.defs.looking import Looker
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.stages.discover import Discovery
from embeddings_dagster_tests.defs.making import make_pictures, make_settings
from embeddings_dagster_tests.defs.ticking import Ticking


class Gate:
    """Looks at the source `nas` wait for it to open: a disk that does not answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.looks: list[str] = []
        real = looking.discover

        def discover(stage: object, name: str, **options: object) -> Discovery:
            self.looks.append(name)
            if name == "nas":
                assert self.opened.wait(60)
            return real(stage, name, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(looking, "discover", discover)

    def open(self, looker: Looker) -> None:
        """The disk answers, and what was waiting for it is done."""
        self.opened.set()
        for look in list(looker._looks.values()):
            look.thread.join(60)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for name in ("quick", "nas"):
        make_pictures(tmp_path / name, 2)
    return Project(make_settings(tmp_path, sources=("nas", "quick")))


def looked(looker: Looker, project: Project) -> looking.Looked:
    return looker.look("test", lambda line: None, project.settings.sources, full=False)


def lose_patience(looker: Looker, monkeypatch: pytest.MonkeyPatch) -> looking.Looked:
    """A look at `nas` that is not waited for; what is asked for after it is waited for as long as it takes."""
    monkeypatch.setattr(looking, "PATIENCE", 0.01)
    found = looker.look("test", lambda line: None, ["nas"], full=False)
    monkeypatch.setattr(looking, "PATIENCE", 60.0)
    monkeypatch.setattr(looking, "TICK_SECONDS", 600.0)
    return found


def test_a_source_that_takes_long_is_waited_for_a_while_and_its_look_goes_on(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, looker = Gate(monkeypatch), Looker(project)
    first = lose_patience(looker, monkeypatch)
    assert first.found == {}
    assert "source nas: reading it takes long, 0 seconds until now" in first.problems["nas"]
    second = looked(looker, project)
    assert (list(second.found), list(second.problems)) == (["quick"], ["nas"])
    assert gate.looks == ["nas", "quick"], "no second look at what is being looked at"
    gate.open(looker)
    assert list(looked(looker, project).found) == ["nas", "quick"], "what it found counts as this look"
    assert gate.looks.count("nas") == 1
    assert list(looked(looker, project).found) == ["nas", "quick"]
    assert gate.looks.count("nas") == 2


def test_the_sources_after_a_ticks_time_is_up_have_their_turn_in_the_next(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, looker = Gate(monkeypatch), Looker(project)
    monkeypatch.setattr(looking, "TICK_SECONDS", 0.01)
    assert "it is looked at in the next" in looked(looker, project).problems["quick"]
    monkeypatch.setattr(looking, "TICK_SECONDS", 600.0)
    monkeypatch.setattr(looking, "PATIENCE", 60.0)
    assert list(looked(looker, project).found) == ["quick"]
    gate.open(looker)


def test_any_error_of_a_source_is_its_own(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    real = looking.discover

    def discover(stage: object, name: str, **options: object) -> Discovery:
        if name == "nas":
            raise RuntimeError("a bug")
        return real(stage, name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(looking, "discover", discover)
    lines: list[str] = []
    found = Looker(project).look("test", lines.append, project.settings.sources, full=False)
    assert found.problems == {"nas": "source nas: RuntimeError: a bug"}
    assert list(found.found) == ["quick"]
    assert "source nas: RuntimeError: a bug" in lines


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(project: Project, tmp_path: Path) -> None:
    (tmp_path / "nas").chmod(0)
    try:
        assert "nas" in looked(Looker(project), project).problems
    finally:
        (tmp_path / "nas").chmod(0o755)


def test_a_tick_asks_for_the_batches_of_the_others_while_one_source_does_not_answer(
    project: Project, instance: dg.DagsterInstance, looks_at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, ticking = Gate(monkeypatch), Ticking(project, instance)
    monkeypatch.setattr(looking, "PATIENCE", 0.01)
    ticking()
    assert "source nas: reading it takes long" in ticking.skipped
    monkeypatch.setattr(looking, "PATIENCE", 60.0)
    assert until_asked(ticking) == ["quick__000001:2:0"]
    ticking.launch()
    gate.opened.set()
    assert until_asked(ticking) == ["nas__000001:2:0"]


def until_asked(ticking: Ticking) -> list[str]:
    return next(asked for _ in range(100) if (asked := ticking()))
