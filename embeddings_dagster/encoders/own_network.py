"""A network of the user's own on a device: called as docs/models.md says, and held to what it is to give back."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embeddings_dagster.encoders.base import Pixels, Vectors
from embeddings_dagster.encoders.checkpoint import load_weights
from embeddings_dagster.encoders.cuda import exact_float32
from embeddings_dagster.encoders.files import ModelFiles
from embeddings_dagster.encoders.import_path import failure, load_object
from embeddings_dagster.encoders.network_input import NetworkInput
from embeddings_dagster.encoders.preprocess import apply_table
from embeddings_dagster.encoders.source_code import find_file, parse
from embeddings_dagster.encoders.torch_threads import can_differ, usable_threads, use_threads
from embeddings_dagster.errors import ModelError
from embeddings_dagster.settings_models import NetworkSettings

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class OwnNetwork:
    """Pixels, boxes and texts in, features (n, D) float32 out.

    With one stream, which is the default, the network is in one call at a time, so that it may keep what it likes on
    itself between its layers; with more it is called from that many threads at once. A precision other than float32 is
    autocast: the weights stay in float32, and so does what is computed of texts. Nothing is recorded or compiled, for
    what the code does may depend on what it is given.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        *,
        dimension: int,
        device: str,
        precision: str,
        streams: int | None,
        table: Vectors | None,
    ) -> None:
        """Move `network` to the device. `table` (3, 256) is what 8-bit pixels stand for."""
        self.name, self.dimension = name, dimension
        self.device, self.precision = device, precision
        self._on_cuda = device.startswith("cuda")
        self.streams = streams if streams and (self._on_cuda or (device == "cpu" and can_differ())) else 1
        self._network: nn.Module | None = network.to(device)
        self._enter = NetworkInput(table, device=device, dtype=torch.float32)
        self._table = table
        self._dtype = AUTOCAST[precision]
        self._threads = max(1, usable_threads() // self.streams)
        self._turns = threading.BoundedSemaphore(self.streams)
        if self._on_cuda:
            exact_float32()
            torch.cuda.current_stream(device).synchronize()  # other threads' streams do not wait for the weights

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._network is None

    def begin_stream(self) -> None:
        """See `Encoder.begin_stream`."""
        if self._on_cuda:
            torch.cuda.set_stream(torch.cuda.Stream(self.device))  # type: ignore[no-untyped-call]
        elif self.streams > 1:
            use_threads(self._threads)

    def pictures(self, pixels: Pixels) -> Vectors:
        """Features of n pictures that have nothing to do with each other."""
        return self._features(len(pixels), "pixels", lambda network: network(self._moved_pixels(pixels)))

    def image(self, pixels: Pixels, boxes: Vectors, texts: Sequence[str | None]) -> Vectors:
        """Features of one image and its parts: a row of each of the three for each of them, the image itself first."""

        def call(network: Any) -> Any:
            return network(self._moved_pixels(pixels), self._moved(boxes), list(texts))

        return self._features(len(pixels), "pixels, boxes, texts", call)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Features of texts."""
        return self._features(len(texts), "texts", lambda network: network.encode_text(list(texts)), exact=True)

    def close(self) -> None:
        """Free the network's memory, once the calls it is in are done."""
        self._network = None

    def _features(self, rows: int, given: str, call: Callable[[Any], Any], *, exact: bool = False) -> Vectors:
        network = self._network
        if network is None:
            raise ModelError(f"the model {self.name!r} has been closed; load it again")
        with ExitStack() as stack:
            stack.enter_context(self._turns)
            stack.enter_context(torch.inference_mode())
            if self._dtype is not None and not exact:
                stack.enter_context(torch.autocast(torch.device(self.device).type, dtype=self._dtype))
            features = self._checked(call(network), rows, given)
            found: Vectors = features.float().cpu().numpy()
            return found

    def _checked(self, features: Any, rows: int, given: str) -> Tensor:
        if not isinstance(features, Tensor):
            gave = f"a {type(features).__name__}"
        elif tuple(features.shape) != (rows, self.dimension):
            gave = f"a tensor of shape {tuple(features.shape)}"
        elif not features.is_floating_point():
            gave = f"a tensor of {features.dtype}"
        else:
            return features
        raise ModelError(
            f"the network of {self.name!r} gave {gave} for {rows} rows of ({given}), and is to give a tensor of floats "
            f"of shape {(rows, self.dimension)}; correct its code, or `network.dimension` ({self.dimension})"
        )

    def _moved_pixels(self, pixels: Pixels) -> Tensor:
        """On a CPU numpy looks brightness up faster; elsewhere 8-bit pixels are a quarter of the bytes to send."""
        if self.device == "cpu" and self._table is not None:
            return torch.from_numpy(apply_table(np.asarray(pixels, dtype=np.uint8), self._table))
        return self._enter(self._moved(pixels))

    def _moved(self, array: Pixels) -> Tensor:
        tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
        if self._on_cuda:
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=self._on_cuda)


def build(settings: NetworkSettings, files: ModelFiles, name: str) -> nn.Module:
    """The user's network with its weights, ready to be called, on the CPU; `name` is the model's, for errors.

    Raises:
        ModelError: its code cannot be imported or fails, it is no torch module, or the checkpoint is not its.
    """
    written = settings.architecture
    near = find_file(parse(written))
    make = load_object(written)
    try:
        network = make(**settings.arguments)
    except Exception as error:
        arguments = ", ".join(settings.arguments) or "no arguments"
        raise ModelError(
            f"`network.architecture` {written!r} cannot be made with {arguments} ({failure(error, near)})"
        ) from error
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"`network.architecture` {written!r} gives a {type(network).__name__}, and is to give a torch.nn.Module: "
            "name the class, or a function that makes one"
        )
    if settings.text and not callable(getattr(network, "encode_text", None)):
        raise ModelError(
            f"`network.text` is true, and {written!r} has no method encode_text(texts); add it, or set text: false"
        )
    (weights,) = files.weights
    load_weights(weights, network, name)
    return network.eval().requires_grad_(False)
