"""torch and transformers, imported once and late, and the device that a model runs on."""

import os
import threading
from typing import Any, NamedTuple

from embeddings_dagster.errors import DeviceUnavailable

# Two threads on their first import of transformers fail: its lazy modules are not made for that. Loading models is not
# either, so both are done under this lock.
LOCK = threading.RLock()


class Runtime(NamedTuple):
    """The two modules, untyped: neither is imported before a model is wanted."""

    torch: Any
    transformers: Any


_IMPORTED: list[Runtime] = []


def runtime() -> Runtime:
    """torch and transformers, imported on first use; from then on no one waits for a model that is being loaded."""
    if not _IMPORTED:
        with LOCK:
            import torch
            import transformers

            modules = Runtime(torch, transformers)
            if "TRANSFORMERS_VERBOSITY" not in os.environ:
                modules.transformers.logging.set_verbosity_error()
                modules.transformers.logging.disable_progress_bar()
            _IMPORTED.append(modules)
    return _IMPORTED[0]


def choose_device(wanted: str) -> str:
    """The torch device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; `auto` takes the first of cuda, mps, cpu.

    Raises:
        DeviceUnavailable: this machine, or the torch installed on it, does not have what was asked for.
    """
    torch = runtime().torch
    graphics = torch.cuda.device_count() if torch.cuda.is_available() else 0
    metal = torch.backends.mps.is_available()
    if wanted == "auto":
        return "cuda:0" if graphics else "mps" if metal else "cpu"
    kind, _, number = wanted.partition(":")
    if (kind == "cuda" and int(number or 0) >= graphics) or (kind == "mps" and not metal):
        has = [f"cuda:{each}" for each in range(graphics)] + ["mps"] * metal + ["cpu"]
        built = "" if kind != "cuda" or torch.version.cuda else f" (torch {torch.__version__} is built without CUDA)"
        raise DeviceUnavailable(
            f"the device {wanted!r} is not there{built}; this machine has {', '.join(has)}. Set `device` to one of "
            "them, or to auto"
        )
    return f"cuda:{number or 0}" if kind == "cuda" else wanted
