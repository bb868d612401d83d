"""Which of many 64-bit hashes are close: all pairs within a Hamming distance, exactly, in bounded memory.

Multi-index hashing (Norouzi, Punjani, Fleet: "Fast Search in Hamming Space with Multi-Index Hashing", 2012): of four
bands of 16 bits, seven flips leave one with at most one flip. So each band's table is asked for a key and the sixteen
keys one bit away, and only those candidates are compared.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

BANDS, WIDTH = 4, 16
MOST_BITS = 2 * BANDS - 1  # with one more, all four bands may have two flips
CANDIDATES = 2**20  # compared at one time

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]


def near_pairs(hashes: Hashes, most: int) -> Iterator[tuple[Numbers, Numbers]]:
    """Every pair of numbers i < j, once, whose hashes differ in at most `most` bits, a block at a time.

    `hashes` are all different. The cost follows the number of candidates: about n²/1,500 of them for evenly spread
    hashes.

    Raises:
        ValueError: `most` is not 0 … 7.
    """
    if not 0 <= most <= MOST_BITS:
        raise ValueError(f"pairs within {most} bits cannot be found by bands; it is 0 to {MOST_BITS}")
    flips = [0] if most < BANDS else [0, *(1 << bit for bit in range(WIDTH))]
    for band in range(BANDS):
        keys = _band(hashes, band)
        order = np.argsort(keys, kind="stable").astype(np.int64)
        starts = np.searchsorted(keys[order], np.arange(2**WIDTH + 1))
        for flip in flips:
            for one, other in _candidates(keys ^ flip, order, starts):
                yield from _close(hashes, one, other, band, most, len(flips) > 1)


def distances(one: Hashes, other: Hashes) -> npt.NDArray[np.uint8]:
    """How many bits differ, pair by pair."""
    counted: npt.NDArray[np.uint8] = np.bitwise_count(one ^ other)
    return counted


def _band(hashes: Hashes, band: int) -> Numbers:
    return ((hashes >> np.uint64(band * WIDTH)) & np.uint64(2**WIDTH - 1)).astype(np.int64)


def _candidates(wanted: Numbers, order: Numbers, starts: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Each number with all those in the bucket it wants, in blocks."""
    counts = starts[wanted + 1] - starts[wanted]
    asking = np.flatnonzero(counts)
    ends = np.cumsum(counts[asking])
    begin = 0
    while begin < len(asking):
        before = int(ends[begin - 1]) if begin else 0
        stop = max(begin + 1, int(np.searchsorted(ends, before + CANDIDATES, side="right")))
        some = asking[begin:stop]
        many = counts[some]
        offsets = np.arange(int(many.sum())) - np.repeat(np.cumsum(many) - many, many)
        yield np.repeat(some, many), order[np.repeat(starts[wanted[some]], many) + offsets]
        begin = stop


def _close(
    hashes: Hashes, one: Numbers, other: Numbers, band: int, most: int, flipped: bool
) -> Iterator[tuple[Numbers, Numbers]]:
    """The candidates that are close, and were not found by a band before this one."""
    ahead = one < other
    one, other = one[ahead], other[ahead]
    differing = hashes[one] ^ hashes[other]
    close = np.bitwise_count(differing) <= most
    one, other, differing = one[close], other[close], differing[close]
    new = np.ones(len(one), bool)
    for earlier in range(band):
        new &= np.bitwise_count(_band(differing, earlier).astype(np.uint64)) > (1 if flipped else 0)
    if new.any():
        yield one[new], other[new]
