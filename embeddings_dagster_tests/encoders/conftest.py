from collections.abc import Iterator
from pathlib import Path

import pytest

from embeddings_dagster.encoders import unload
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders import tiny


@pytest.fixture(scope="session", autouse=True)
def _one_thread_each() -> None:
    """Test processes run side by side: torch's own threads would only wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    return tiny.save_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture(scope="session")
def tiny_dino(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    return tiny.save_dino(tmp_path_factory.mktemp("models") / "dino")


@pytest.fixture
def clip_folder(tiny_clip: ModelSettings, tmp_path: Path) -> Path:
    """A copy of the tiny CLIP that a test may damage."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for path in Path(tiny_clip.model).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture(autouse=True)
def _nothing_stays_loaded() -> Iterator[None]:
    yield
    unload()
