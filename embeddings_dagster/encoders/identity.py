"""Which model exactly: a fingerprint over all that decides a vector for given pixels.

Files are hashed, not trusted by name: a folder moved elsewhere keeps its fingerprint, a changed file changes it.
Nothing here loads torch or transformers, so that sensors and `status` may ask.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from embeddings_dagster.encoders.files import ModelFiles, locate
from embeddings_dagster.errors import ModelError
from embeddings_dagster.settings import ModelSettings

PREPROCESSING = "pil-1"  # raise it when preprocess.py gives other pixels than before
PRECISION_CLASS = {"fp32": "float", "bf16": "float", "fp16": "float"}

# The tensor whose first axis is the vector's, as the checkpoint names it, perhaps behind a prefix.
OUTPUT = {"clip": "visual_projection.weight", "dino": "layernorm.weight"}

Digest = Callable[[Path], str]

_REMEMBERED: dict[tuple[str, int, int, int], str] = {}
_REMEMBERED_LOCK = threading.Lock()


@dataclass(frozen=True)
class ModelIdentity:
    """A model as it is on this machine; `details` is what the fingerprint is made of, and each file's sha256."""

    model: str
    fingerprint: str
    dimension: int
    details: Mapping[str, object]

    @property
    def fp12(self) -> str:
        """The first 12 digits of the fingerprint, which name folders."""
        return self.fingerprint[:12]


def identify(model: ModelSettings, *, download: bool = True, digest: Digest | None = None) -> ModelIdentity:
    """The identity of `model`. `digest` gives a file's sha256 (default: `remembered_sha256`).

    Raises:
        ModelUnavailable: its files are not here and, with `download`, not to be had either.
        ModelError: its files are not those of a model of that kind.
    """
    return identity_of(model, locate(model, download=download), digest or remembered_sha256)


def identity_of(model: ModelSettings, files: ModelFiles, digest: Digest) -> ModelIdentity:
    """The identity of `model`, whose files are `files`; raises as `identify` does."""
    hashes = {path.name: digest(path) for path in (*files.settings, *files.weights)}
    decides = {
        "model": files.model,
        "revision": files.revision,
        "kind": model.kind,
        "weights": _digest_of((path.name, hashes[path.name]) for path in files.weights),
        "settings": _digest_of((path.name, hashes[path.name]) for path in files.settings),
        "preprocessing": PREPROCESSING,
        "precision_class": PRECISION_CLASS[model.precision],
    }
    return ModelIdentity(
        model=files.model,
        fingerprint=_digest_of(decides.items()),
        dimension=_dimension(model, files),
        details={**decides, "files": hashes},
    )


def remembered_sha256(path: Path) -> str:
    """sha256 of a file, computed once per (path, size, mtime, inode) in this process."""
    state = path.stat()
    key = (str(path), state.st_size, state.st_mtime_ns, state.st_ino)
    with _REMEMBERED_LOCK:
        known = _REMEMBERED.get(key)
    if known is None:
        with path.open("rb") as file:
            known = hashlib.file_digest(file, "sha256").hexdigest()
        with _REMEMBERED_LOCK:
            _REMEMBERED[key] = known
    return known


def _digest_of(pairs: Iterable[tuple[str, str]]) -> str:
    return hashlib.sha256(json.dumps(sorted(pairs)).encode()).hexdigest()


def _dimension(model: ModelSettings, files: ModelFiles) -> int:
    """The length of the model's vectors, read from the headers of its weights."""
    tensor = OUTPUT[model.kind]
    for path in files.weights:
        try:
            with safe_open(path, framework="numpy") as weights:
                for name in weights.keys():  # noqa: SIM118 (not a dict)
                    if name == tensor or name.endswith("." + tensor):
                        return int(weights.get_slice(name).get_shape()[0])
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{str(path)!r} is not a whole safetensors file ({error}); fetch it again") from error
    raise ModelError(
        f"the model {model.model!r} has no weights named {tensor!r}, so it is not one of kind {model.kind!r}; "
        "correct `kind` or `model`"
    )
