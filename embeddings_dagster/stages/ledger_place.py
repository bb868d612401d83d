"""Where new pictures go, and which of them may enter; pure."""

import hashlib
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster import ids
from embeddings_dagster.stages.ledger_columns import Mask, keys


def next_batches(taken: pa.ChunkedArray, count: int, source: str, batch_images: int) -> pa.ChunkedArray:
    """The batches of `count` new pictures: the source's last one is filled up, then others are begun.

    `taken`: the batch of every row there is, tombstones included.
    """
    pattern = re.compile(re.escape(source) + r"__(\d{6,})")
    counts = pc.value_counts(taken).to_pylist()
    numbers = {int(match[1]): entry["counts"] for entry in counts if (match := pattern.fullmatch(entry["values"]))}
    last = max(numbers, default=1)
    # A batch can hold more than the limit: moves brought rows, or the limit was lowered. It is full, no more.
    held = min(numbers.get(last, 0), batch_images)
    assigned = (held + np.arange(count)) // batch_images
    labels = [ids.batch_key(source, f"{number:06d}") for number in range(last, last + count // batch_images + 2)]
    return pa.chunked_array([pa.array(labels, pa.string()).take(pa.array(assigned))])


def sampled(scan: pa.Table, sample: int | None) -> Mask:
    """Rows of the `sample` pictures whose ids hash lowest: the same on every run, and a part of every larger sample.

    A picture that lies in several batches is one picture.
    """
    if sample is None or sample >= len(scan):
        return np.ones(len(scan), np.bool_)
    digests = b"".join(hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys(scan).to_pylist())
    numbers = np.frombuffer(digests, ">u8")
    lowest = np.unique(numbers)[:sample]
    return np.isin(numbers, lowest)
