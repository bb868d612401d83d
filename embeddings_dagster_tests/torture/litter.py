"""What is left behind: by kills only files of documented kinds that nobody reads, by `forget` nothing at all."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from embeddings_dagster import ids
from embeddings_dagster.index import Generations
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.identities import identity
from embeddings_dagster.stages.models import serving
from embeddings_dagster.stages.opened import model_settings
from embeddings_dagster.store import Store
from embeddings_dagster_tests.torture.audit import FORGOTTEN, index_rows
from embeddings_dagster_tests.torture.violation import require

HEX = "[0-9a-f]{32}"
# Temporary names, and whole files that no manifest names, of each kind of thing that is committed.
KINDS = {
    "probe": re.compile(rf"\.probe-{HEX}"),  # whether the disk creates a name once only
    "temporary": re.compile(rf"(.*/)?\.[^/]+\.{HEX}\.tmp"),
    "part": re.compile(rf"(sources|raw_images|rgb_images|embeddings|analysis)/.*/parts/{HEX}\.\w+"),
    "segment": re.compile(rf"indexes/.*/segments/{HEX}/[\w.]+"),
    "deletions": re.compile(rf"indexes/.*/deletions/{HEX}\.npy"),
    "catalogue": re.compile(rf"catalog/files/{HEX}\.sqlite"),
}
OF_SEGMENTS = ("index.faiss", "vectors.npy", "rows.parquet", "copies.npy")
NOT_THE_STORES = ("cache", "image_cache", "exports")


def require_documented(store: Store) -> Counter[str]:
    """How many files of each kind no version names. Raises Violation for any of another kind."""
    found: Counter[str] = Counter()
    for path in unnamed(store):
        kind = next((name for name, pattern in KINDS.items() if pattern.fullmatch(path)), None)
        require(kind is not None, f"{path} is named by nothing, and is of no documented kind")
        found[str(kind)] += 1
    return found


def require_clean(store: Store) -> None:
    """After `gc` of all but the newest: no file that nothing names, and of everything one version. Raises Violation."""
    left = unnamed(store)
    require(not left, f"gc left {left[:5]}, which nothing names")
    for folder in {path.parent for path in Path(store.root).glob("**/manifests/*.json")}:
        numbers = sorted(path.stem for path in folder.glob("*.json"))
        require(len(numbers) == 1, f"gc left the versions {numbers} in {folder}")


def unnamed(store: Store) -> list[str]:
    """The files of the store that no version of anything names."""
    root = Path(store.root)
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    there = {path for path in files if path.split("/")[0] not in NOT_THE_STORES}
    return sorted(there - set(_named(root, there)))


def _named(root: Path, files: set[str]) -> Iterator[str]:
    for path in files:
        if re.fullmatch(r".*/[0-9]{8}\.json", path):
            yield path
            folder = path.rsplit("/", 2)[0]
            for name in _texts(json.loads((root / path).read_bytes())):
                yield f"{folder}/{name}"


def _texts(value: object) -> Iterator[str]:
    """Every text in a manifest, for it may be a file's name; of a segment, all that its folder holds."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "uuid":
                yield from (f"segments/{each}/{file}" for file in OF_SEGMENTS)
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value


def require_forgotten(settings: Settings, store: Store) -> None:
    """Nothing of the source that was forgotten is left, but for an index of a former fingerprint that still serves:
    `forget` says that it does, and a run ends it. Raises Violation."""
    require(FORGOTTEN not in store.sources(), f"the ledger of {FORGOTTEN} is still there")
    for dataset in store.datasets():
        left = [batch for batch in store.batches(dataset) if ids.source_of(batch) == FORGOTTEN]
        require(not left, f"{dataset} still has {left}")
    for model in store.files.folders("models"):
        record = serving(store, model)
        asked = identity(store, model, model_settings(settings, model)).fp12
        generations = Generations(store, model, asked) if record and record.fp12 == asked else None
        manifest = generations.latest() if generations else None
        if generations and manifest:
            keys = index_rows(generations, manifest)
            left = [key for key in keys if ids.parse_image_id(key.image_id)[0] == FORGOTTEN]
            require(not left, f"{model}_index still has {left[:3]}")
