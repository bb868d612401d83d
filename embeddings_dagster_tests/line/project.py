"""A project on disk as a user has it: a settings file, a folder of artwork, and the command."""

import sys
from pathlib import Path

import numpy as np

from embeddings_dagster.settings import Settings, load_settings
from embeddings_dagster.store import Chain, Manifest, Store
from embeddings_dagster_tests.cli.command import run

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from render_artwork import render_artwork

BATCH = "art__000001"
SETTINGS = """\
sources:
  art:
    kind: folder
    path: pictures
models:
  clip:
    kind: clip
    model: bundled:clip
    device: cpu
"""


class Project:
    """`root/embeddings.yaml` with one source, `art`, of the pictures in `root/pictures`, and one model, `clip`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pictures = root / "pictures"

    @classmethod
    def make(cls, root: Path, pictures: int) -> "Project":
        """A new one, with so many pictures."""
        project = cls(root)
        render_artwork(project.pictures, pictures)
        (root / "embeddings.yaml").write_text(SETTINGS)
        return project

    @property
    def settings(self) -> Settings:
        return load_settings(self.root / "embeddings.yaml")

    @property
    def store(self) -> Store:
        settings = self.settings
        return Store.open(settings.data_root, settings.cache_root)

    def run(self) -> None:
        """`embeddings run`, which must succeed, and end."""
        done = run("run", cwd=self.root, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr

    def chain(self, dataset: str) -> Chain:
        """The chain of the one batch; `embeddings` stands for the model's."""
        if dataset == "embeddings":
            dataset = next(each for each in self.store.datasets() if each.startswith("embeddings/clip/"))
        return self.store.chain(dataset, BATCH)

    def vectors(self) -> dict[str, np.ndarray]:
        """The live vectors, by image id."""
        chain = self.chain("embeddings")
        table = chain.rows(latest(chain), ["image_id", "embedding"])
        matrix = np.stack(table.column("embedding").to_numpy())
        return dict(zip(table.column("image_id").to_pylist(), matrix, strict=True))


def latest(chain: Chain) -> Manifest:
    """The newest complete version, which must exist."""
    manifest = chain.latest()
    assert manifest is not None
    return manifest
