"""A network's weights from a checkpoint, safetensors or torch's own: all of them, no others, and no code is run."""

import argparse
import pickle
import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from embeddings_dagster.errors import ModelError, ModelUnavailable

# Where a training loop keeps the weights, beside its optimizer and the like; the first that is there counts.
KEPT_UNDER = ("model_state_dict", "state_dict", "model")
# What DistributedDataParallel, DataParallel and torch.compile put before each name.
PREFIXES = ("module.", "_orig_mod.")
NAMED = 5  # tensors, in an error

SAVE_ANEW = (
    "in the program that made it, save the weights alone: torch.save({'model_state_dict': network.state_dict()}, FILE)"
)


def load_weights(path: Path, network: Any, name: str) -> None:
    """Fill `network`, which is on the CPU, with the weights in the file `path`; `name` is the model's, for errors.

    Raises:
        ModelUnavailable: there is no such file.
        ModelError: it is no checkpoint, or one that would have to run code, or the tensors in it are not the network's.
    """
    if not path.is_file():
        raise ModelUnavailable(f"the weights {str(path)!r} of the model {name!r} are not there; correct `model`")
    tensors = _safetensors(path) if path.suffix == ".safetensors" else _tensors(_pickled(path), path)
    expected = network.state_dict(keep_vars=True)
    wrong = _fill(network, expected, _without_prefix(tensors, expected))
    if wrong:
        raise ModelError(
            f"the weights in {str(path)!r} are not those of the network of {name!r}: {wrong}. Correct "
            "`network.architecture`, its `arguments`, or `model`"
        )


def _fill(network: Any, expected: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """Copy the weights into the network; what does not fit, in words, or nothing."""
    unlike: list[str] = []
    try:
        found = network.load_state_dict(state, strict=False)
        missing, unexpected = found.missing_keys, found.unexpected_keys
    except (RuntimeError, AttributeError, TypeError) as error:  # a shape, or something that is no tensor
        missing, unexpected = (
            [key for key in expected if key not in state],
            [key for key in state if key not in expected],
        )
        unlike = _unlike(state, expected) or [str(error)]
    absent = _not_tied(missing, expected, state)
    told = [_told("missing", absent), _told("unexpected", unexpected), _told("of another shape", unlike)]
    return "; ".join(each for each in told if each)


def _told(what: str, keys: Sequence[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return f"{len(keys)} {what} ({', '.join(keys[:NAMED])}{more})"


def _unlike(state: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Tensors whose shape is not the network's, each with both shapes."""
    return [
        f"{key}: {_shape(state[key])} for {_shape(tensor)}"
        for key, tensor in expected.items()
        if key in state and _shape(state[key]) != _shape(tensor)
    ]


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if hasattr(value, "shape") else type(value).__name__


def _not_tied(missing: Sequence[str], expected: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    """`missing` without second names of tensors that are there: safetensors keeps one name of each."""
    loaded = {id(tensor) for key, tensor in expected.items() if key in state}
    return [key for key in missing if id(expected.get(key)) not in loaded]


def _without_prefix(tensors: Mapping[str, Any], expected: Collection[str]) -> dict[str, Any]:
    """The names without what training put before every one of them, as long as none of them is the network's own."""
    names = list(tensors)
    while names and not any(name in expected for name in names):
        prefix = next((each for each in PREFIXES if all(name.startswith(each) for name in names)), None)
        if prefix is None:
            break
        names = [name.removeprefix(prefix) for name in names]
    return dict(zip(names, tensors.values(), strict=True))


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    try:
        found: dict[str, Any] = load_file(path, device="cpu")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{str(path)!r} is not a whole safetensors file ({error}); copy it again") from error
    return found


def _tensors(content: Any, path: Path) -> dict[str, Any]:
    """The weights in what a checkpoint holds: under one of the usual names, or the whole of it."""
    import torch

    if not isinstance(content, Mapping):
        raise ModelError(f"{str(path)!r} holds a {type(content).__name__}, not weights by name; {SAVE_ANEW}")
    kept = next((content[key] for key in KEPT_UNDER if isinstance(content.get(key), Mapping)), content)
    tensors = {str(key): value for key, value in kept.items()}
    if kept is content and not any(isinstance(value, torch.Tensor) for value in tensors.values()):
        names = ", ".join(list(tensors)[:NAMED]) or "nothing"
        raise ModelError(
            f"{str(path)!r} holds no weights under {' | '.join(KEPT_UNDER)}, and is none itself: it has {names}; "
            f"{SAVE_ANEW}"
        )
    return tensors


def _pickled(path: Path) -> Any:
    """What torch saved in `path`; the tensors stay in the file until they are copied."""
    import torch

    zipped = zipfile.is_zipfile(path)
    if not zipped and not _begins_as_pickle(path):
        raise ModelError(
            f"{str(path)!r} is no checkpoint: neither torch nor safetensors wrote it, or it was cut short; copy it "
            "again"
        )
    try:
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise ModelError(_refusal(path, str(error))) from error
    except MemoryError:
        raise
    except Exception as error:  # torch has no error of its own for a file that is torn or was never a checkpoint
        raise ModelError(
            f"{str(path)!r} cannot be read as a checkpoint ({type(error).__name__}: {_first_line(error)}); copy it "
            f"again, or {SAVE_ANEW}"
        ) from error


def _begins_as_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _harmless() -> list[Any]:
    """What training loops keep beside the weights, that is plain data, and that torch alone would refuse: numpy's
    numbers (the best loss) and the command's arguments."""
    from numpy._core.multiarray import scalar

    kinds = {type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8", "u1", "?")}
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *kinds, argparse.Namespace]


def _refusal(path: Path, said: str) -> str:
    named = re.search(r"GLOBAL (\S+)", said) or re.search(r"(?:class|global|function) (\S+)", said)
    what = f" ({named[1]})" if named else ""
    return (
        f"{str(path)!r} holds more than weights{what}: to read it, code that it names would have to be run, which a "
        f"checkpoint from anywhere could abuse, so it is refused; {SAVE_ANEW}"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
