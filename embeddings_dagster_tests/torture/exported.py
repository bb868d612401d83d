"""Exports: equal to the store when they are done, and never taken for done when they are not."""

import hashlib
import json
from pathlib import Path

import numpy as np

from embeddings_dagster.ids import Key
from embeddings_dagster.index import Generation, Generations
from embeddings_dagster.stages.models import serving
from embeddings_dagster.store import Store
from embeddings_dagster_tests.torture.audit import index_rows
from embeddings_dagster_tests.torture.commands import Command
from embeddings_dagster_tests.torture.violation import require, same


def sound_or_unfinished(root: Path) -> None:
    """A description says that its files are whole only where they are."""
    for path in root.rglob("*.json") if root.is_dir() else ():
        if any(part.startswith(".embeddings-export-") for part in path.parts):
            continue
        said = json.loads(path.read_bytes())
        if not isinstance(said, dict) or not said.get("complete"):
            continue
        for name, file in said["files"].items():
            digest = hashlib.sha256((path.parent / name).read_bytes()).hexdigest()
            require(digest == file["sha256"], f"{path} describes another {name} than there is")


def require_equal(root: Path, command: Command, store: Store) -> None:
    """What was exported are the vectors of the index, each under its own id."""
    form = command.argv[1]
    source, model = (command.argv[command.argv.index(name) + 1] for name in ("--source", "--model"))
    folder = root / command.argv[-1].removeprefix("out/")
    found, vectors = _read(folder, form)
    record = serving(store, model)
    assert record is not None
    generations = Generations(store, model, record.fp12)
    manifest = generations.latest()
    assert manifest is not None
    whole = [key.image_id.partition(":") for key in index_rows(generations, manifest) if key.region == 0]
    same(found, (local_id for name, _, local_id in whole if name == source), f"ids of {folder.name}")
    wanted, _ = Generation.open(generations, manifest).vectors([Key(f"{source}:{each}", 0) for each in found])
    off = float(np.abs(vectors - wanted).max()) if found else 0.0
    require(off < 1e-6, f"{folder.name}: a vector is {off:.2g} off that of the index")


def _read(folder: Path, form: str) -> tuple[list[str], np.ndarray]:
    if form == "npy":
        described = json.loads((folder / "embedding_metadata.json").read_bytes())
        (file,) = folder.glob("*_embeddings.npy")
        return described["ids"], np.load(file)
    if form == "json":
        (file,) = folder.glob("*_embeddings.json")
        described = json.loads(file.with_name(f"{file.stem}_metadata.json").read_bytes())
        return described["ids"], np.asarray(json.loads(file.read_bytes()), np.float32)
    import faiss

    (file,) = folder.glob("hnsw_*.faiss")
    index = faiss.read_index(str(file))
    ids = json.loads(file.with_name(f"{file.stem}_product_ids.json").read_bytes())["product_ids"]
    return ids, index.reconstruct_n(0, index.ntotal)
