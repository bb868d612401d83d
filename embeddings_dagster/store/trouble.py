"""What a disk refuses, told so that a person knows which place it was, and what to do there.

Its promise: no bare `OSError` of storage leaves the store. That a file is not there, or is there already, is an answer
and no trouble: those pass as they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from embeddings_dagster.errors import StorageFailed

ANSWERS = (FileNotFoundError, FileExistsError, NotADirectoryError, StorageFailed)


@contextmanager
def telling(place: object, what: str) -> Iterator[None]:
    """What is done in the block is done to `place`; `what` completes "cannot be …".

    Raises:
        StorageFailed: it could not be done.
    """
    try:
        yield
    except ANSWERS:
        raise
    except OSError as error:
        raise StorageFailed.of(error, str(place), what) from error
