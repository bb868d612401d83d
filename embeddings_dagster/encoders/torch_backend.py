"""A network computed by torch: on a CPU several batches side by side, each with one torch thread, or on a GPU.

Features are those of the network, in the precision asked for and given as float32.
"""

import threading
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from embeddings_dagster.encoders.base import Backend, Pixels, Vectors
from embeddings_dagster.encoders.cuda import CudaBackend
from embeddings_dagster.encoders.features import Features
from embeddings_dagster.encoders.network_input import NetworkInput
from embeddings_dagster.encoders.preprocess import apply_table
from embeddings_dagster.encoders.torch_threads import can_differ, usable_threads, use_threads
from embeddings_dagster.errors import ModelError

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def open_backend(
    network: nn.Module,
    features: Features,
    *,
    device: str,
    precision: str,
    table: Vectors | None,
    streams: int | None,
) -> Backend:
    """The backend for a device that `choose_device` gave; `network` is moved to it and converted in place.

    `features` computes with `network`. `precision` is fp32, bf16 or fp16. `table` (3, 256) is what 8-bit pixels stand
    for. `streams` None: as many as suit the device.
    """
    if device.startswith("cuda"):
        return CudaBackend(
            network,
            features,
            device=device,
            dtype=TYPES[precision],
            precision=precision,
            table=table,
            streams=streams,
        )
    return TorchBackend(network, features, device=device, precision=precision, table=table, streams=streams)


class TorchBackend:
    """See `Backend`; for a CPU, or for a GPU of Apple's, which takes one batch at a time."""

    def __init__(
        self,
        network: nn.Module,
        features: Features,
        *,
        device: str,
        precision: str,
        table: Vectors | None,
        streams: int | None,
    ) -> None:
        """See `open_backend`; on a CPU `streams` None is one for each core that torch may use now."""
        self.device, self.precision = device, precision
        self._dtype = TYPES[precision]
        network.to(device=device, dtype=self._dtype)
        self._features: Features | None = features
        self._table = table
        cores = usable_threads()
        on_cores = device == "cpu" and can_differ()
        self.streams = (streams or cores) if on_cores else 1
        self._threads = max(1, cores // self.streams) if on_cores else None
        self._enter = NetworkInput(table, device=device, dtype=self._dtype)
        self._turn: AbstractContextManager[object] = nullcontext() if device == "cpu" else threading.Lock()

    def begin_stream(self) -> None:
        """See `Encoder.begin_stream`."""
        if self._threads is not None:
            use_threads(self._threads)

    def features(self, pixels: Pixels) -> Vectors:
        """See `Backend.features`.

        Raises:
            ModelError: torch cannot compute it in this precision here, or the model was closed.
        """
        compute = self._features
        if compute is None:
            raise ModelError("the model has been closed; load it again")
        try:
            with self._turn, torch.inference_mode():
                found: Vectors = compute(self._input(pixels)).float().cpu().numpy()
        except RuntimeError as error:
            if self.precision == "fp16" and "not implemented for 'Half'" in str(error):
                raise ModelError(
                    f"torch {torch.__version__} cannot compute this model in fp16 on {self.device} ({error}); set "
                    "`precision` to bf16 or fp32"
                ) from error
            raise
        return found

    def close(self) -> None:
        """See `Backend.close`."""
        self._features = None

    def _input(self, pixels: Pixels) -> Tensor:
        """What the network is given; brightness is looked up where the network is, on a CPU faster by numpy."""
        if self.device == "cpu" and pixels.dtype == np.uint8 and self._table is not None:
            pixels = apply_table(np.asarray(pixels, dtype=np.uint8), self._table)
        writable = np.require(
            pixels, requirements=["C", "W"]
        )  # torch warns of any that is not, though nothing writes to it
        return self._enter(torch.from_numpy(writable).to(self.device))
