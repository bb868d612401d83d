"""The one set of partitions: `image_batches`, a key for each batch of each source.

Dagster checks no dynamic key: a key gets in here only if it is a batch key, so that none can ever be read as a range
or leave its folder.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import dagster as dg

from embeddings_dagster import ids

IMAGE_BATCHES = "image_batches"
Thing = TypeVar("Thing")
CHUNK = 5000  # keys in one statement; SQLite takes 32,766 variables, a key needs several

image_batches = dg.DynamicPartitionsDefinition(name=IMAGE_BATCHES)


def checked_keys(keys: Iterable[str]) -> list[str]:
    """The keys in their order, without repeats.

    Raises:
        ValueError: one of them is not a batch key.
    """
    wanted = list(dict.fromkeys(keys))
    if bad := [key for key in wanted if not ids.is_batch_key(key)]:
        raise ValueError(f"{bad[0]!r} is not a batch key: a source name, '__', then letters, digits, '_', '.', '-'")
    return wanted


def known_keys(instance: dg.DagsterInstance) -> set[str]:
    """The keys that the instance has."""
    return set(instance.get_dynamic_partitions(IMAGE_BATCHES))


def add_keys(instance: dg.DagsterInstance, keys: Iterable[str]) -> list[str]:
    """Add the keys that the instance lacks; returns those.

    Raises:
        ValueError: one of them is not a batch key; none was added.
    """
    known = known_keys(instance)
    missing = [key for key in checked_keys(keys) if key not in known]
    for chunk in chunks(missing):
        instance.add_dynamic_partitions(IMAGE_BATCHES, chunk)
    return missing


def drop_keys(instance: dg.DagsterInstance, keys: Iterable[str]) -> None:
    """Drop keys; their materialisations stay in the history, their files in the store."""
    for key in keys:
        instance.delete_dynamic_partition(IMAGE_BATCHES, key)


def chunks(things: Sequence[Thing], size: int = CHUNK) -> Iterator[list[Thing]]:
    """The keys, or whatever there is, at most `size` at a time, in order."""
    for start in range(0, len(things), size):
        yield list(things[start : start + size])
