"""Small projects on disk, without a model where none is needed, and what they hold."""

import shutil
import sys
from pathlib import Path

from embeddings_dagster.settings import load_settings
from embeddings_dagster.store import Store
from embeddings_dagster_tests.cli.conftest import PICTURES, SAMPLE

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from render_artwork import render_artwork

MODEL = "models: {dino: {kind: dino, model: 'bundled:dino', device: cpu}}\n"


def emojis(root: Path, sources: str = "art: {kind: folder, path: pics}", models: str = MODEL) -> Path:
    """Five pictures and a small model."""
    (root / "pics").mkdir(parents=True)
    for each in PICTURES:
        shutil.copy2(SAMPLE / each, root / "pics")
    (root / "embeddings.yaml").write_text(f"sources: {{{sources}}}\n{models}")
    return root


def artwork(root: Path, pictures: int = 6, more: int = 2) -> Path:
    """Two folders of pictures and no model: as far as the catalogue. Data and cache lie in folders of their own."""
    render_artwork(root / "pics", pictures)
    render_artwork(root / "more", more)
    (root / "embeddings.yaml").write_text(
        "sources: {art: {kind: folder, path: pics}, more: {kind: folder, path: more}}\n"
        "data: data\ncache: cache\nmodels: {}\n"
    )
    return root


def store_of(root: Path) -> Store:
    settings = load_settings(root / "embeddings.yaml")
    return Store.open(settings.data_root, settings.cache_root)


def rows_of(store: Store) -> dict[str, dict[str, str]]:
    """By dataset: what the newest versions of all batches hold, each row with the hash of what it was made from."""
    found: dict[str, dict[str, str]] = {}
    for dataset in store.datasets():
        rows = found.setdefault(dataset.split("/")[0], {})
        for batch in store.batches(dataset):
            chain = store.chain(dataset, batch)
            manifest = chain.latest()
            if manifest is not None:
                table = chain.rows(manifest, ("image_id", "sha256" if dataset == "raw_images" else "input_hash"))
                rows |= dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return found
