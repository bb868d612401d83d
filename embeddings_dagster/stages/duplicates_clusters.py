"""Which pictures belong together: pairs that are close in hash, in colour and in vector, joined.

Pure but for the vectors, which are asked for in blocks. Hashes that thousands of pictures share do not make it
quadratic: there each picture is compared with a bounded number of leaders only.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embeddings_dagster.stages.duplicates_pairs import Hashes, Numbers, near_pairs

Vectors = npt.NDArray[np.float32]
Pairs = tuple[Numbers, Numbers]

COLOURS_APART = 40  # levels of a channel's mean: 15 % of brightness are 38
CROWD = 64  # pictures of one hash that are all compared with each other, and with those of close hashes
LEADERS = 256  # of a crowd, whom its other members are compared with
BLOCK = 4_096  # pairs whose vectors are in memory at one time


@dataclass(frozen=True)
class Rule:
    """When two pictures are nearly the same: at most `bits` of the hash differ, the cosine is `cosine` or more, and
    their mean colours are close."""

    bits: int
    cosine: float


@dataclass
class Joined:
    """Groups of numbers, by union and find. `crowded`: numbers that found no leader of their crowd's bounded ones."""

    parents: Numbers
    crowded: int = 0
    compared: int = 0

    @classmethod
    def apart(cls, count: int) -> "Joined":
        return cls(np.arange(count))

    def roots(self, numbers: Numbers | None = None) -> Numbers:
        """The root of each number's group (default: of all numbers): its least number."""
        found = self.parents if numbers is None else self.parents[numbers]
        while True:
            above = self.parents[found]
            if np.array_equal(above, found):
                return found
            found = above

    def join(self, one: Numbers, other: Numbers) -> None:
        """Make one group of each pair's two."""
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            a, b = self._root(a), self._root(b)
            if a != b:
                self.parents[max(a, b)] = min(a, b)

    def _root(self, number: int) -> int:
        parents = self.parents
        while (above := int(parents[number])) != number:
            parents[number] = number = int(parents[above])  # halves the path for who comes after
        return number


def joined(
    hashes: Hashes,
    colours: Numbers,
    hashed: npt.NDArray[np.bool_],
    rule: Rule,
    vectors: Callable[[Numbers], Vectors],
    check_stop: Callable[[], None] = lambda: None,
) -> Joined:
    """The groups of pictures that the rule joins, chains included. Those that are not `hashed` stay alone.

    `vectors` gives those of some pictures (n, D), of length 1.
    """
    found = Joined.apart(len(hashes))
    same = _Same(colours, rule, vectors)
    having = np.flatnonzero(hashed)
    unique, which, counts = np.unique(hashes[having], return_inverse=True, return_counts=True)
    order = having[np.argsort(which, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(counts)])
    leaders: dict[int, Numbers] = {}

    def group(number: int) -> Numbers:
        return order[starts[number] : starts[number + 1]]

    for number in np.flatnonzero(counts > CROWD).tolist():
        check_stop()
        leaders[number] = _led(group(number), found, same, check_stop)[:CROWD]

    def within() -> Iterator[Pairs]:
        for number in np.flatnonzero((counts > 1) & (counts <= CROWD)).tolist():
            some = group(number)
            one, other = np.triu_indices(len(some), 1)
            yield some[one], some[other]

    def across() -> Iterator[Pairs]:
        for one, other in near_pairs(unique, rule.bits):
            check_stop()
            for a, b in zip(one.tolist(), other.tolist(), strict=True):
                left = leaders[a] if a in leaders else group(a)
                right = leaders[b] if b in leaders else group(b)
                yield np.repeat(left, len(right)), np.tile(right, len(left))

    for pairs in (within(), across()):
        for one, other in _gathered(pairs):
            check_stop()
            same.join(found, one, other)
    found.compared = same.compared
    return found


class _Same:
    """The part of the rule that is looked at pair by pair: colours first, which cost nothing."""

    def __init__(self, colours: Numbers, rule: Rule, vectors: Callable[[Numbers], Vectors]) -> None:
        self._channels = np.stack([(colours >> shift) & 255 for shift in (16, 8, 0)], axis=-1).astype(np.int16)
        self._rule, self.vectors = rule, vectors
        self.compared = 0

    def colour(self, one: Numbers, other: Numbers) -> npt.NDArray[np.bool_]:
        apart = np.abs(self._channels[one] - self._channels[other]).max(axis=-1)
        close: npt.NDArray[np.bool_] = apart <= COLOURS_APART
        return close

    def close(self, cosines: Vectors) -> npt.NDArray[np.bool_]:
        return np.asarray(cosines >= self._rule.cosine)

    def join(self, found: Joined, one: Numbers, other: Numbers) -> None:
        """Join the pairs that are the same; those that are joined already are not looked at."""
        todo = self.colour(one, other)
        todo[todo] = found.roots(one[todo]) != found.roots(other[todo])
        one, other = one[todo], other[todo]
        for start in range(0, len(one), BLOCK):
            a, b = one[start : start + BLOCK], other[start : start + BLOCK]
            self.compared += len(a)
            near = self.close(np.einsum("nd,nd->n", self.vectors(a), self.vectors(b)))
            found.join(a[near], b[near])


def _led(group: Numbers, found: Joined, same: _Same, check_stop: Callable[[], None]) -> Numbers:
    """Join those of a crowd of one hash; returns its leaders, whom others compare themselves with.

    Each picture follows the closest leader that is the same, else leads, while there are few leaders.
    """
    leaders = group[:1]
    held = same.vectors(leaders)
    for start in range(1, len(group), BLOCK):
        check_stop()
        some = group[start : start + BLOCK]
        mine = same.vectors(some)
        left = np.arange(len(some))
        seen = 0
        while len(left):
            left = left[~_follow(found, same, some[left], mine[left], leaders[seen:], held[seen:])]
            seen = len(leaders)
            if not len(left) or seen >= LEADERS:
                break
            leaders, held = np.append(leaders, some[left[0]]), np.vstack([held, mine[left[:1]]])
            left = left[1:]
        found.crowded += len(left)
    return leaders


def _follow(
    found: Joined, same: _Same, numbers: Numbers, vectors: Vectors, leaders: Numbers, held: Vectors
) -> npt.NDArray[np.bool_]:
    """Join each number with the closest of the leaders that is the same; which of them found one."""
    cosines = vectors @ held.T
    same.compared += cosines.size
    near = same.close(cosines) & same.colour(numbers[:, None], leaders[None, :])
    best = np.where(near, cosines, -2).argmax(axis=1)
    does: npt.NDArray[np.bool_] = near[np.arange(len(numbers)), best]
    found.join(numbers[does], leaders[best[does]])
    return does


def _gathered(pairs: Iterator[Pairs]) -> Iterator[Pairs]:
    """The same pairs in blocks that are worth a call."""
    held: list[Pairs] = []
    size = 0
    for each in pairs:
        held.append(each)
        size += len(each[0])
        if size >= BLOCK:
            yield _together(held)
            held, size = [], 0
    if held:
        yield _together(held)


def _together(pairs: list[Pairs]) -> Pairs:
    ones, others = zip(*pairs, strict=True)
    return np.concatenate(ones), np.concatenate(others)
