"""How many threads torch computes with: of a thread of ours, without a change for anyone else's."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch

from embeddings_dagster.images.cores import usable_cores

# `torch.set_num_threads` speaks for the thread that calls it, and for all that have not yet computed anything.
_SETTING = threading.Lock()


def usable_threads() -> int:
    """How many threads may compute side by side: as many as torch would use, and no more than there are cores."""
    return max(1, min(torch.get_num_threads(), usable_cores()))


def can_differ() -> bool:
    """Whether threads may have different numbers: OpenMP keeps one for each thread, torch's own pool but one."""
    return "ATen parallel backend: OpenMP" in torch.__config__.parallel_info()


def use_threads(count: int) -> None:
    """Let torch compute with `count` threads in the thread that calls this, and there alone.

    Threads that already compute keep their number by themselves. What new ones start with is put back, from a new
    thread; only one whose very first use of torch falls in between would start with `count` as well.
    """
    with _SETTING, ThreadPoolExecutor(1) as other:
        before = other.submit(torch.get_num_threads).result()
        torch.get_num_threads()  # a thread's first call of torch gives it the common number, over any set before
        torch.set_num_threads(count)
        other.submit(torch.set_num_threads, before).result()
