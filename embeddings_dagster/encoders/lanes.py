"""A GPU's batches in lanes: each has buffers, a queue of work on the device, and recorded runs of its own.

While one lane's batch is computed, the pixels of another are on their way: a lane waits for its own work alone. After
a failure, out of memory above all, a lane holds nothing, and starts anew with the next batch.
"""

import logging
import queue
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from embeddings_dagster.encoders.base import Pixels, Vectors

WARM_UP = 3  # times a size of batch is computed before a run is recorded: it has come to stay, and all is set up
RECORDED = 4  # sizes of batch whose runs are kept: full ones, and what is left over of images with many regions

_log = logging.getLogger(__name__)


class DeviceQueue(Protocol):
    """Work on a device, done in the order in which it is issued."""

    def issuing(self) -> AbstractContextManager[object]:
        """Within, the thread's work for the device goes into this queue."""

    def host_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory that the device can copy from and to while the processor does something else."""

    def device_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory on the device."""

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """`work` as one piece, to be issued again and again on the same buffers, its result always in the same one.

        Raises:
            RuntimeError: the device cannot do that with this work; the queue is fit for use all the same.
        """

    def wait(self) -> None:
        """Return when all that was issued is done; other queues are not waited for."""


@dataclass(frozen=True)
class _Buffers:
    """Room for a batch of pixels, here and on the device."""

    here: Tensor
    there: Tensor

    def fit(self, pixels: Pixels) -> bool:
        room = self.here.numpy()
        return room.dtype == pixels.dtype and room.shape[1:] == pixels.shape[1:] and len(room) >= len(pixels)


class Lane:
    """One batch at a time. `compute` makes features (n, D) float32 of pixels, both on the device."""

    def __init__(self, device: DeviceQueue, compute: Callable[[Tensor], Tensor]) -> None:
        self._device, self._compute = device, compute
        self._records = True
        self.free()

    def free(self) -> None:
        """Let go of all memory."""
        self._buffers: _Buffers | None = None
        self._result: Tensor | None = None
        self._runs: dict[int, Callable[[], Tensor]] = {}
        self._uses: Counter[int] = Counter()

    def features(self, pixels: Pixels) -> Vectors:
        """Features (n, D) float32 of pixels as `Backend.features` takes them."""
        try:
            with torch.inference_mode(), self._device.issuing():
                return self._features(pixels)
        except BaseException:
            self.free()
            raise

    def _features(self, pixels: Pixels) -> Vectors:
        count = len(pixels)
        buffers = self._room(pixels)
        np.copyto(buffers.here.numpy()[:count], pixels)
        buffers.there[:count].copy_(buffers.here[:count], non_blocking=True)
        found = self._run(buffers.there[:count])
        if self._result is None or len(self._result) < count:
            self._result = self._device.host_buffer((len(buffers.here), *found.shape[1:]), torch.float32)
        result = self._result[:count].copy_(found, non_blocking=True)
        self._device.wait()
        copied: Vectors = result.numpy().copy()
        return copied

    def _room(self, pixels: Pixels) -> _Buffers:
        """Buffers for at least this batch. Larger ones take the place of those that the recorded runs are bound to."""
        if self._buffers is None or not self._buffers.fit(pixels):
            self.free()
            dtype = torch.from_numpy(np.empty(0, pixels.dtype)).dtype
            here = self._device.host_buffer(pixels.shape, dtype)
            self._buffers = _Buffers(here, self._device.device_buffer(pixels.shape, dtype))
        return self._buffers

    def _run(self, pixels: Tensor) -> Tensor:
        """Issue the computation, as it was recorded where a batch of this size was before."""
        count = len(pixels)
        if count in self._runs:
            return self._runs[count]()
        found = self._compute(pixels)
        self._uses[count] += 1
        if self._records and self._uses[count] == WARM_UP:
            self._record(pixels)
        return found

    def _record(self, pixels: Tensor) -> None:
        """Keep a recorded run for batches of this size, in the place of the oldest one if there are many."""
        try:
            run = self._device.record(lambda: self._compute(pixels))
        except RuntimeError as error:
            self._records = False
            reason = f"{type(error).__name__}: {error}"
            _log.warning("batches are issued step by step, which is somewhat slower: no CUDA graph (%s)", reason)
            return
        if len(self._runs) == RECORDED:
            oldest = next(iter(self._runs))
            del self._runs[oldest], self._uses[oldest]
        self._runs[len(pixels)] = run


class Lanes:
    """Some lanes, of which each thread that has a batch takes one that is free, or waits for one."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        # The one that was used last comes first: where few threads compute, few buffers are ever made.
        self._free: queue.LifoQueue[Lane] = queue.LifoQueue()
        for lane in lanes:
            self._free.put(lane)

    @contextmanager
    def taken(self) -> Iterator[Lane]:
        """A lane for this thread alone."""
        lane = self._free.get()
        try:
            yield lane
        finally:
            self._free.put(lane)
