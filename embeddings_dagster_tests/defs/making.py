"""Pictures and settings files for the tests of this folder."""

from collections.abc import Mapping
from pathlib import Path

import yaml
from PIL import Image

from embeddings_dagster.settings import Settings, load_settings


def make_picture(path: Path, number: int) -> None:
    """A picture of one colour, different for each number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (number * 37 % 256, number * 91 % 256, number * 53 % 256, 255 - number % 100)
    Image.new("RGBA", (16, 16), colour).save(path)


def make_pictures(folder: Path, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        make_picture(folder / f"{number:03}.png", number)


def make_settings(
    root: Path,
    *,
    sources: tuple[str, ...] = ("pics",),
    more_sources: Mapping[str, object] | None = None,
    models: tuple[str, ...] = ("dino",),
    **dagster: object,
) -> Settings:
    """An `embeddings.yaml` in `root` with folders as sources, two pictures a batch, and sources of other kinds."""
    document = {
        "batch_images": 2,
        "sources": {name: {"kind": "folder", "path": name} for name in sources} | dict(more_sources or {}),
        "models": {name: {"kind": name, "model": f"bundled:{name}"} for name in models},
        "dagster": {"retry_seconds": 60, **dagster},
    }
    path = root / "embeddings.yaml"
    path.write_text(yaml.safe_dump(document))
    return load_settings(path)
