"""Where a model's files are, and which of them decide a vector.

A model is `bundled:<name>`, a folder (written with a leading `/`, `.` or `~`), or else the id of a hub repository. Only
JSON, text and safetensors are read, never a pickle.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from embeddings_dagster.encoders import hub
from embeddings_dagster.errors import ModelUnavailable
from embeddings_dagster.settings_models import ModelSettings

BUNDLED = Path(__file__).parents[1] / "bundled"
BUNDLED_PREFIX = "bundled:"

PROCESSOR = ("preprocessor_config.json", "processor_config.json")
VOCABULARY = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
TOKENIZER = (*VOCABULARY, "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


@dataclass(frozen=True)
class ModelFiles:
    """A model that is here. `model` and `revision` say what it is, wherever the folder lies."""

    folder: Path
    model: str
    revision: str
    settings: tuple[Path, ...]
    weights: tuple[Path, ...]


def locate(model: ModelSettings, *, download: bool = True) -> ModelFiles:
    """The files of `model`: bundled, in a folder, in the hub's cache, or, with `download`, from the hub.

    Raises:
        ModelUnavailable: they are neither here nor to be had; the message says what to do.
    """
    name = model.model
    if model.kind == "custom":
        return _checkpoint(Path(name).expanduser().absolute())
    if name.startswith(BUNDLED_PREFIX):
        return _files(_bundled(name), model, name, "")
    if is_folder(name):
        return _files(_folder(name), model, "folder", "")
    folder = hub.cached(name, model.revision)
    if folder is None or missing(folder, model.kind):
        if not download:
            raise ModelUnavailable(f"the model {name!r} is not on this machine yet; a run fetches it. {hub.INSTEAD}")
        folder = hub.fetch(name, model.revision, lambda names: wanted(names, model.kind))
    return _files(folder, model, name, folder.name)


def _checkpoint(path: Path) -> ModelFiles:
    """Of a network of one's own: the weights. Its code and its settings are told by `custom.decides`."""
    if not path.is_file():
        raise ModelUnavailable(f"the weights {str(path)!r} are not there; correct `model`, which names a file")
    return ModelFiles(path.parent, "custom", "", settings=(), weights=(path,))


def is_folder(name: str) -> bool:
    """Whether a model's name in the settings is a path; `owner/name` without a leading `./` is always a hub id."""
    return name.startswith(("/", ".", "~")) or re.match(r"[A-Za-z]:[\\/]", name) is not None


def wanted(names: Iterable[str], kind: str) -> list[str]:
    """Those files of a repository that are used, weights last: where weights are, the rest is complete."""
    names = set(names)
    settings = ["config.json", *PROCESSOR, *(TOKENIZER if kind == "clip" else ())]
    shards = sorted(filter(SHARD.fullmatch, names))
    weights = [WEIGHTS] if WEIGHTS in names else [INDEX, *shards]
    return [name for name in (*settings, *weights) if name in names]


def missing(folder: Path, kind: str) -> list[str]:
    """What a model of that kind needs and `folder` does not hold.

    Raises:
        ModelUnavailable: its index of weights is none, or names files that are not weights in this folder.
    """
    needs = [("config.json",), PROCESSOR]
    if kind == "clip":
        needs.append(VOCABULARY)
    absent = [" or ".join(names) for names in needs if not any((folder / name).is_file() for name in names)]
    if (folder / WEIGHTS).is_file():
        return absent
    if not (folder / INDEX).is_file():
        return [*absent, WEIGHTS]
    return absent + [name for name in _indexed(folder / INDEX) if not (folder / name).is_file()]


def _indexed(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        strange = next((name for name in names if not SHARD.fullmatch(name)), None)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ModelUnavailable(f"{str(index)!r} is not an index of safetensors files; fetch the model again") from error
    if strange is not None:  # it would be loaded from wherever that is, and its digest be in no fingerprint
        raise ModelUnavailable(
            f"{str(index)!r} names {strange!r}, and weights are model-00001-of-00002.safetensors and the like, beside "
            "it; save the model again with save_pretrained"
        )
    return names


def _bundled(name: str) -> Path:
    known = {BUNDLED_PREFIX + each.name: each for each in sorted(BUNDLED.iterdir()) if (each / WEIGHTS).is_file()}
    if name not in known:
        raise ModelUnavailable(f"there is no model {name!r}; bundled are: {', '.join(known)}")
    return known[name]


def _folder(name: str) -> Path:
    folder = Path(name).expanduser().absolute()
    if not folder.is_dir():
        raise ModelUnavailable(f"the model's folder {str(folder)!r} does not exist; correct `model`. {hub.INSTEAD}")
    return folder


def _files(folder: Path, model: ModelSettings, name: str, revision: str) -> ModelFiles:
    absent = missing(folder, model.kind)
    if absent:
        raise ModelUnavailable(_incomplete(folder, model, absent))
    used = [folder / each for each in wanted((path.name for path in folder.iterdir()), model.kind)]
    weights = tuple(path for path in used if path.suffix == ".safetensors")
    return ModelFiles(folder, name, revision, tuple(path for path in used if path not in weights), weights)


def _incomplete(folder: Path, model: ModelSettings, absent: list[str]) -> str:
    text = f"the model {model.model!r} (kind {model.kind}) lacks {', '.join(absent)} in {str(folder)!r}."
    if WEIGHTS not in absent:
        return f"{text} Put the file there, or correct `kind` or `model`."
    remedy = "Convert it once: transformers.AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    if not is_folder(model.model):
        remedy = "Name a `revision` of it that has safetensors (often a pull request: refs/pr/N), or another model"
    return f"{text} Only safetensors are read, since other weights are pickles that may run code. {remedy}."
