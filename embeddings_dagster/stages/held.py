"""A batch's lock, waited for as long as it takes, but never deaf to a stop."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import Timeout

from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.store.trouble import telling

LOOK_SECONDS = 0.5  # between two looks at the stop event while another process holds the lock


@contextmanager
def held(context: StageContext, name: str) -> Iterator[None]:
    """Hold the store's lock of that name. It saves work that two processes would do twice; commits guard the data.

    Raises:
        Stopped: a stop was asked for while waiting.
        StorageFailed: the lock's file cannot be made.
    """
    lock = context.store.lock(name, timeout=LOOK_SECONDS)
    waits = False
    while True:
        try:
            with telling(lock.lock_file, "locked"):
                lock.acquire()
            break
        except Timeout:
            if not waits:
                context.log(f"{name}: another process is at work on it; waiting until it is done")
            waits = True
            context.check_stop()
    try:
        yield
    finally:
        lock.release()
