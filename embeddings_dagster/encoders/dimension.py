"""How long a model's vectors are, read from the headers of its weights: no tensor is read, and torch is not loaded."""

import json
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from embeddings_dagster.encoders.families import family_of
from embeddings_dagster.encoders.files import ModelFiles
from embeddings_dagster.errors import ModelError


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
        found = json.loads(config.read_bytes())["model_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{str(config)!r} does not say what type of model it is ({type(error).__name__}: {error}); fetch it again"
        ) from error
    return str(found)


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
