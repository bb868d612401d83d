"""A small project that was run once, copied for each test, and the command as a function."""

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from embeddings_dagster.cli import main
from embeddings_dagster.stages import looks as looks_module
from embeddings_dagster.stages import settling as settling_module

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample" / "emoji"
PICTURES = ("food/pizza.png", "food/banana.png", "food/strawberry.png", "animals/dog.png", "symbols/red-heart.png")
BROKEN = "broken/truncated.png"
NAMES = sorted(Path(each).name for each in PICTURES)


class Answer(NamedTuple):
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No project but the test's own; what a command sets in the environment goes with the test."""
    isolate(monkeypatch)


def isolate(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("EMBEDDINGS_")]:
        monkeypatch.delenv(name)
    for name in ("EMBEDDINGS_SETTINGS", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")  # so that it is put back as it was
        monkeypatch.delenv(name)
    # Two looks at a file still are two, but need no two seconds between them.
    for module in (looks_module, settling_module):
        monkeypatch.setattr(module, "APART", timedelta(0))


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """`embeddings ARGUMENTS` in this process, in the current folder."""

    def typed(*arguments: str) -> Answer:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        code = ended.value.code
        return Answer(code if isinstance(code, int) else int(code is not None), *capfd.readouterr())

    return typed


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures and, in their middle by name, one that cannot be decoded; run to the end, once a session."""
    root = tmp_path_factory.mktemp("built")
    (root / "pics").mkdir()
    for each in PICTURES:
        shutil.copy2(SAMPLE / each, root / "pics")
    shutil.copy2(SAMPLE / BROKEN, root / "pics" / "piece.png")
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch)
        monkeypatch.chdir(root)
        for arguments in (["init", "--source", "pics"], ["run"]):
            with pytest.raises(SystemExit) as ended:
                main(arguments)
            assert not ended.value.code
    return root


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project that was run, as the current folder."""
    root = tmp_path / "project"
    shutil.copytree(built, root)
    monkeypatch.chdir(root)
    return root
