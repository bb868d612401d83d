import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.embedder.forwards import Forwards
from embeddings_dagster_tests.encoders import tiny


@pytest.fixture(scope="session", autouse=True)
def _one_thread_each() -> None:
    """Test processes run side by side: torch's own threads would only wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    """Each test closes what it opens, and closing ends all threads."""
    yield
    assert [each.name for each in threading.enumerate() if each.name.startswith("embedder-")] == []


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny CLIP with random weights."""
    return tiny.save_clip(tmp_path_factory.mktemp("models") / "clip").model


@pytest.fixture(scope="session")
def dino(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.save_dino(tmp_path_factory.mktemp("models") / "dino").model


@pytest.fixture(scope="session")
def clip_settings(clip: str) -> ModelSettings:
    return ModelSettings(kind="clip", model=clip)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Twelve pictures, none like another."""
    made = [tmp_path / f"{seed}.png" for seed in range(12)]
    for seed, path in enumerate(made):
        tiny.picture(seed).save(path)
    return made


@pytest.fixture
def forwards() -> Iterator[Forwards]:
    watched = Forwards()
    with watched:
        yield watched


async def beats(enough: int = 5) -> None:
    """That many turns of the event loop, each behind a timer: it is not held up."""
    for _ in range(enough):
        await asyncio.sleep(0.001)


@pytest.fixture
def after_beats() -> Callable[[threading.Event], "asyncio.Task[None]"]:
    """Set the event once the loop that this is called on has turned a few times."""

    async def then(event: threading.Event) -> None:
        await beats()
        event.set()

    return lambda event: asyncio.get_running_loop().create_task(then(event))
