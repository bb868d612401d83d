"""A queue of work that stands in for a GPU's, which most machines that run these tests do not have."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch


class HostQueue:
    """A device that is the processor itself. Like a CUDA graph, a recorded run always answers in the same memory."""

    def __init__(self, *, records: bool = True) -> None:
        self.records, self.recorded, self.replayed, self.waited, self.buffers = records, 0, 0, 0, 0

    def issuing(self) -> AbstractContextManager[object]:
        return nullcontext()

    def host_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype)

    def device_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        self.buffers += 1
        return torch.empty(shape, dtype=dtype)

    def record(self, work: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        if not self.records:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.recorded += 1
        result = work()

        def run() -> torch.Tensor:
            self.replayed += 1
            return result.copy_(work())

        return run

    def wait(self) -> None:
        self.waited += 1
