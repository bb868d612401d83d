"""faiss, imported when first needed: whoever only lists generations or plans a refresh does not pay for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def library() -> Any:
    """The module. Untyped, because faiss's stubs do not know what its Python layer adds to its C++ classes."""
    import faiss

    return faiss


@contextmanager
def one_thread() -> Iterator[None]:
    """Let faiss compute in the calling thread alone, and leave that thread's setting as it was.

    One query gains nothing from more: on a machine whose cores are busy, waking a second thread made a search of
    10,000 vectors take 22 ms instead of 0.1. Many searches at once run beside each other all the same.
    """
    faiss = library()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
