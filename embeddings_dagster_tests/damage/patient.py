"""A project that was run twice through Dagster, and what it was like before it was injured."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.cli import main
from embeddings_dagster.settings import load_settings
from embeddings_dagster.stages.analysis_pictures import analysed_model
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.duplicates import refresh_duplicates
from embeddings_dagster.stages.embedding_map import refresh_map
from embeddings_dagster.store import Manifest, Store
from embeddings_dagster_tests.cli.conftest import Command
from embeddings_dagster_tests.encoders import tiny

FIRST, SECOND = "art__000001", "art__000002"
SETTINGS = """\
batch_images: 8
sources: {art: {kind: folder, path: pictures}}
models: {clip: {kind: clip, model: "bundled:clip", device: cpu}}
analysis: {map_pictures: 4}
"""


def paint(root: Path, *numbers: int, seed: int = 0) -> None:
    for number in numbers:
        file = root / "pictures" / f"n{number:02}.png"
        file.parent.mkdir(exist_ok=True)
        tiny.picture(number + seed).save(file)
        os.utime(file, ns=(10**18 + seed * 10**9,) * 2)


def typed(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code


def make_project(root: Path) -> None:
    """Two batches, in two runs: so each has two parts, and an old version. `root` is the current folder."""
    (root / "embeddings.yaml").write_text(SETTINGS)
    paint(root, *range(12))
    (root / "pictures" / "broken.png").write_bytes(b"no picture at all")
    typed("run")
    paint(root, 1, 9, 12, 13, seed=100)
    typed("run")
    settings = load_settings(root / "embeddings.yaml")
    context = StageContext(settings, Store.open(settings.data_root, settings.cache_root), "analysed")
    refresh_duplicates(context, analysed_model(settings))
    refresh_map(context, "clip")


class Patient:
    """The project, and what it was like before it was injured."""

    def __init__(self, root: Path, command: Command) -> None:
        self.root, self.command = root, command
        self.before = self.state()
        self.bytes = {path: path.read_bytes() for path in self.data.rglob("*") if path.is_file()}

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def store(self) -> Store:
        settings = load_settings(self.root / "embeddings.yaml")
        return Store.open(settings.data_root, settings.cache_root)

    def embeddings(self) -> str:
        return next(each for each in self.store.datasets() if each.startswith("embeddings/"))

    def newest(self, dataset: str, batch: str) -> Manifest:
        manifest = self.store.chain(dataset, batch).latest()
        assert manifest is not None
        return manifest

    def part(self, dataset: str, batch: str, number: int = 0) -> Path:
        """A part of the newest version."""
        return self.data / self.store.chain(dataset, batch).files(self.newest(dataset, batch))[number]

    def manifest(self, folder: str, back: int = 0) -> Path:
        return sorted((self.data / folder / "manifests").iterdir())[-1 - back]

    def state(self) -> dict[str, object]:
        """What a user sees: members of batches, contents, vectors to the bit, and an answer."""
        store, found = self.store, {}
        for dataset in store.datasets():
            for batch in store.batches(dataset):
                found[f"{dataset}/{batch}"] = self.newest(dataset, batch).content
        ledger = store.ledger("art").latest()
        assert ledger is not None
        found["states"] = {batch: entry.source_state for batch, entry in ledger.batches.items()}
        for batch in (FIRST, SECOND):
            chain = store.chain(self.embeddings(), batch)
            table = chain.rows(self.newest(self.embeddings(), batch), ["image_id", "embedding"])
            vectors = (np.asarray(each, np.float32).tobytes() for each in table.column("embedding").to_pylist())
            found[f"vectors of {batch}"] = dict(zip(table.column("image_id").to_pylist(), vectors, strict=True))
        said = self.command("search", "--id", "art:n03.png", "-k", "20", "--json")
        hits = json.loads(said.out)["hits"]
        found["hits"] = [(hit["image_id"], round(hit["score"], 6)) for hit in hits]
        return found

    def repair(self, code: int = 0) -> dict[str, list[str]]:
        said = self.command("verify", "--repair", "--json")
        assert said.code == code, said.out + said.err
        told: dict[str, list[str]] = json.loads(said.out)
        return told

    def require_healed(self, *damaged: Path) -> None:
        """Repaired, and nothing but that was touched."""
        told = self.repair()
        assert told["problems"], told
        assert told["left"] == told["refused"] == []
        assert self.state() == self.before
        assert json.loads(self.command("verify", "--json").out) == []
        for path in self.named_now() & self.bytes.keys():
            assert path in damaged or path.read_bytes() == self.bytes[path], path

    def named_now(self) -> set[Path]:
        """Every file of rows that newest versions need."""
        store = self.store
        chains = [store.chain(dataset, batch) for dataset in store.datasets() for batch in store.batches(dataset)]
        return {
            self.data / path for chain in chains for path in chain.referenced(self.newest(chain.dataset, chain.batch))
        }
