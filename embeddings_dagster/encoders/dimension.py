"""How long a model's vectors are, read from the headers of its weights: no tensor is read, and torch is not loaded."""

import json
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from embeddings_dagster.encoders.families import family_of
from embeddings_dagster.encoders.files import ModelFiles
from embeddings_dagster.errors import ModelError

LARGEST = 10_000_000  # of any whole number in a configuration; the largest vocabularies have a million words
MOST_LAYERS = 1_000


def dimension(kind: str, model: str, files: ModelFiles) -> int:
    """The length of the vectors of a model of `kind` clip or dino; `model` is its name in the settings.

    Raises:
        ModelError: its files are not those of a model of that kind, or not whole.
    """
    model_type = _model_type(files.folder / "config.json")
    outputs = family_of(kind, model_type, model).outputs
    lengths = _first_axes(outputs, files.weights)
    absent = [name for name in outputs if name not in lengths]
    if absent:
        raise ModelError(
            f"the model {model!r} has no weights named {absent[0]!r}, so it is not all of a {model_type} that kind "
            f"{kind} needs; take another model, or all its files from one place"
        )
    if len(set(lengths.values())) > 1:
        raise ModelError(
            f"the model {model!r} has vectors of {lengths[outputs[0]]} numbers for pictures and of "
            f"{lengths[outputs[1]]} for texts, so they cannot be compared; take another model"
        )
    return lengths[outputs[0]]


def _model_type(config: Path) -> str:
    try:
        told = json.loads(config.read_bytes())
        found = told["model_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{str(config)!r} does not say what type of model it is ({type(error).__name__}: {error}); fetch it again"
        ) from error
    _check_claims(told, config)
    return str(found)


def _check_claims(told: object, config: Path) -> None:
    """A network is built as its configuration says before its weights are compared with it: a line of it could ask for
    all memory, or for a day.

    Raises:
        ModelError: it claims more than any model has.
    """
    waiting = [("", told)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(key, each) for each in value]
        elif isinstance(value, int) and abs(value) > (MOST_LAYERS if "layers" in key else LARGEST):
            raise ModelError(f"{str(config)!r} says {key[:60]!r}: {value}, which no model has; fetch it again")


def _first_axes(wanted: Iterable[str], paths: Iterable[Path]) -> dict[str, int]:
    """The length of the first axis of those tensors that are there."""
    found: dict[str, int] = {}
    for path in paths:
        try:
            with safe_open(path, framework="numpy") as weights:
                for name in weights.keys():  # noqa: SIM118 (not a dict)
                    for tensor in wanted:
                        if name == tensor or name.endswith("." + tensor):
                            found.setdefault(tensor, int(weights.get_slice(name).get_shape()[0]))
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{str(path)!r} is not a whole safetensors file ({error}); fetch it again") from error
    return found
