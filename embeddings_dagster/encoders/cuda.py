"""A network on a GPU of NVIDIA's: batches in a few lanes, so that the GPU computes one while others are copied.

Nothing waits for the whole device; runs of full batches are recorded as CUDA graphs and issued in one call.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import torch
from torch import Tensor, nn

from embeddings_dagster.encoders.base import Pixels, Vectors
from embeddings_dagster.encoders.features import Features
from embeddings_dagster.encoders.lanes import Lane, Lanes
from embeddings_dagster.encoders.network_input import NetworkInput
from embeddings_dagster.errors import ModelError

STREAMS = 3  # one batch computed, one on its way there, and one whose vectors are taken back and normalised

# One recording at a time in a process is all that torch promises.
_RECORDING = threading.Lock()

# Graphs whose recording failed: torch's allocator goes on asking them what memory is theirs, so they have to stay, and
# a second failure would make more of them.
_FAILED: list[torch.cuda.CUDAGraph] = []


class CudaBackend:
    """See `Backend`."""

    def __init__(
        self,
        network: nn.Module,
        features: Features,
        *,
        device: str,
        dtype: torch.dtype,
        precision: str,
        table: Vectors | None,
        streams: int | None,
    ) -> None:
        """Move `network` to the device and convert it in place; the rest as for `TorchBackend`."""
        exact_float32()
        network.to(device=device, dtype=dtype)
        self.device, self.precision, self.streams = device, precision, streams or STREAMS
        enter = NetworkInput(table, device=device, dtype=dtype)

        def compute(pixels: Tensor) -> Tensor:
            found: Tensor = features(enter(pixels)).float()
            return found

        self._lanes: Lanes | None = Lanes([Lane(CudaQueue(device), compute) for _ in range(self.streams)])

    def begin_stream(self) -> None:
        """See `Encoder.begin_stream`. There is nothing to set: a lane is bound to no thread."""

    def features(self, pixels: Pixels) -> Vectors:
        """See `Backend.features`.

        Raises:
            ModelError: the model was closed.
        """
        if self._lanes is None:
            raise ModelError("the model has been closed; load it again")
        with self._lanes.taken() as lane:
            return lane.features(pixels)

    def close(self) -> None:
        """See `Backend.close`."""
        self._lanes = None


class CudaQueue:
    """See `DeviceQueue`: a CUDA stream, and a graph for each recorded run."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        # The weights were converted on the stream of the thread that loads, whose end no other stream waits for.
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self._memory = torch.cuda.graph_pool_handle()  # shared by its graphs, since they run one after another

    def issuing(self) -> AbstractContextManager[object]:
        """See `DeviceQueue.issuing`."""
        return torch.cuda.stream(self._stream)

    def host_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `DeviceQueue.host_buffer`."""
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def device_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `DeviceQueue.device_buffer`."""
        return torch.empty(shape, dtype=dtype, device=self._device)

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """See `DeviceQueue.record`. By the graph itself: `torch.cuda.graph` would wait for the whole device first."""
        graph = torch.cuda.CUDAGraph()
        with _RECORDING:
            if _FAILED:
                raise RuntimeError("an earlier recording failed in this process")
            try:
                # Other threads go on as they are; in this one, nothing may wait for the device.
                graph.capture_begin(self._memory, capture_error_mode="thread_local")
                result = work()
                graph.capture_end()
            except BaseException:
                _FAILED.append(graph)
                with suppress(RuntimeError):
                    graph.capture_end()
                raise

        def run() -> Tensor:
            graph.replay()
            return result

        return run

    def wait(self) -> None:
        """See `DeviceQueue.wait`."""
        self._done.record(self._stream)
        self._done.synchronize()


def exact_float32() -> None:
    """Keep GPUs from computing float32 with 10 bits of mantissa: that is TF32, torch's default for convolutions.

    By the older pair of switches, since after the newer `fp32_precision` torch refuses to read the older ones at all.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
