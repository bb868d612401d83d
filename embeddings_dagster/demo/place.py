"""Where the demo takes place: a folder with settings, store and Dagster home of its own; it touches no other."""

import json
import os
from importlib.resources import files
from pathlib import Path

from embeddings_dagster.demo.sample import Sample
from embeddings_dagster.errors import SettingsError
from embeddings_dagster.settings import FILE_NAME, Settings, load_settings

SOURCE = "emoji"
IMAGE_QUERY = "food/pizza.png"


def prepare(folder: Path, sample: Sample) -> tuple[Path, Settings]:
    """The demo's settings file in `folder` and what it says; written when it is not there yet.

    Raises:
        SettingsError: it holds mistakes, or an environment variable leads the demo into another store.
    """
    root = folder.absolute()
    root.mkdir(parents=True, exist_ok=True)
    file = root / FILE_NAME
    if not file.exists():
        pictures = sample.pictures
        if root.is_relative_to(sample.checkout):  # then the checkout may be moved as a whole
            pictures = Path(os.path.relpath(pictures, root))
        path = json.dumps(pictures.as_posix(), ensure_ascii=False)
        template = files("embeddings_dagster.demo").joinpath(FILE_NAME).read_text(encoding="utf-8")
        file.write_text(template.format(source=SOURCE, path=path), encoding="utf-8")
    settings = load_settings(file)
    if not Path(settings.data_root).is_relative_to(root):
        raise SettingsError(
            f"EMBEDDINGS_DATA leads the demo into {settings.data_root}, where its pictures do not belong; unset it"
        )
    return file, settings
