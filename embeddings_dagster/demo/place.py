"""Where the demo takes place: a folder with settings, store and Dagster home of its own; it touches no other."""

import json
import os
from importlib.resources import files
from pathlib import Path

from embeddings_dagster.demo.sample import Sample
from embeddings_dagster.errors import SettingsError
from embeddings_dagster.settings import FILE_NAME, Settings, load_settings

IMAGE_QUERY = "emoji/food/pizza.png"


# What the demo's sources read; the shop's catalogue lies in the demo's own folder.
COLLECTIONS = {"emoji": "emoji", "scraped": "scraped", "comics": "comics/specs.txt"}


def prepare(folder: Path, sample: Sample) -> tuple[Path, Settings]:
    """The demo's settings file in `folder` and what it says; written when it is not there yet.

    Raises:
        SettingsError: it holds mistakes, or an environment variable leads the demo into another store.
    """
    root = folder.absolute()
    root.mkdir(parents=True, exist_ok=True)
    file = root / FILE_NAME
    if not file.exists():
        template = files("embeddings_dagster.demo").joinpath(FILE_NAME).read_text(encoding="utf-8")
        named = {name: _path(sample, root, place) for name, place in COLLECTIONS.items()}
        file.write_text(template.format(**named), encoding="utf-8")
    settings = load_settings(file)
    if not Path(settings.data_root).is_relative_to(root):
        raise SettingsError(
            f"EMBEDDINGS_DATA leads the demo into {settings.data_root}, where its pictures do not belong; unset it"
        )
    return file, settings


def _path(sample: Sample, root: Path, place: str) -> str:
    """A collection's path as a YAML value; relative in a checkout, which may then be moved as a whole."""
    path = sample.folder / place
    if root.is_relative_to(sample.checkout):
        path = Path(os.path.relpath(path, root))
    return json.dumps(path.as_posix(), ensure_ascii=False)
