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
from typing import Literal

from embeddings_dagster.encoders import custom
from embeddings_dagster.encoders.dimension import dimension
from embeddings_dagster.encoders.files import ModelFiles, locate
from embeddings_dagster.settings_models import ModelSettings

# Raise these when the code gives other pixels, or other vectors of long texts, than before.
PREPROCESSING = {"exact": "pil-1", "fast": "fast-1"}
LONG_TEXTS = "chunks-1"
UNCALIBRATED = "not calibrated"

Digest = Callable[[Path], str]

_REMEMBERED: dict[tuple[str, int, int, int], str] = {}
_REMEMBERED_LOCK = threading.Lock()


@dataclass(frozen=True)
class ModelIdentity:
    """A model as it is on this machine; `details` is what the fingerprint is made of, and each file's sha256.

    `inputs`: what its vectors are made of: single regions of pictures, whole images with all their regions, or texts.
    `normalised`: they have L2 norm 1.
    """

    model: str
    fingerprint: str
    dimension: int
    details: Mapping[str, object]
    inputs: Literal["regions", "images", "texts"] = "regions"
    normalised: bool = True

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
        **(_decides_texts(model) if model.side == "text" else _decides_pictures(model)),
    }
    if model.network is not None:
        # What a checkpoint is called says nothing, unlike the names of a model's files in a folder.
        decides |= {"weights": hashes[files.weights[0].name], **custom.decides(model.network)}
    return ModelIdentity(
        model=files.model,
        fingerprint=_digest_of(decides.items()),
        dimension=model.network.dimension if model.network else dimension(model.kind, model.model, files),
        details={**decides, "files": hashes},
        inputs=_inputs(model),
        normalised=model.network is None or model.network.normalised or model.side == "text",
    )


def _inputs(model: ModelSettings) -> Literal["regions", "images", "texts"]:
    if model.side == "text":
        return "texts"
    return "images" if model.network is not None and model.network.regions == "together" else "regions"


def _decides_pictures(model: ModelSettings) -> dict[str, str]:
    """What decides the vectors of pictures, beside the files.

    `auto` is never int8: its vectors are floats. An int8 that was not calibrated yet has a fingerprint too, under which
    nothing is ever written: the first run calibrates it, and gives it another.
    """
    precision = f"int8:{model.calibrated or UNCALIBRATED}" if model.precision == "int8" else "float"
    return {"preprocessing": PREPROCESSING[model.preprocessing], "precision_class": precision}


def _decides_texts(model: ModelSettings) -> dict[str, str]:
    """What decides the vectors of texts, beside the files; they are always computed in float32."""
    return {"side": model.side, "long_texts": LONG_TEXTS}


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
