"""How much the neighbours overlap between two fingerprints of a model: what a switch would change in the answers.

It is measured on a sample that follows from names and hashes alone, and remembered under `cache/`, so whoever asks
again while nothing changed reads no rows. Memory, and what is read of the store, are bounded at any size.
"""

import hashlib
import heapq
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from embeddings_dagster.stages.index_writing import vectors_of
from embeddings_dagster.stages.neighbours import Vectors, in_common, nearest
from embeddings_dagster.store import Chain, Head, Manifest, Store
from embeddings_dagster.store.remembered import UNUSABLE, Remembered, transaction

NEIGHBOURS = 10
QUERIES = 200
FEWEST_ROWS = 50  # in fewer, ten neighbours are a fifth of all there is, and many are shared by chance
MOST_ROWS = 20_000
MOST_BYTES = 96 * 2**20  # of vectors held at one time
MOST_BATCHES = 40  # each has files of its own, whose bytes are all hashed when they are first read
MOST_KEYS = 400_000  # to choose from; a single batch that has more is read all the same

TABLES = """create table if not exists overlaps (one text, other text, state text, said text,
    primary key (one, other)) without rowid"""


class Space(NamedTuple):
    """Where the vectors of a fingerprint lie, and how long they are."""

    dataset: str
    dimension: int


@dataclass(frozen=True)
class Overlap:
    """|A ∩ B| / 10 of the ten closest others of a picture in two spaces: the mean over `queries` pictures, and over
    the tenth of them where it is least. `rows` pictures of `batches` batches, held by both, were there to be found.
    """

    mean: float
    worst_decile: float
    queries: int
    rows: int
    batches: int


def neighbour_overlap(store: Store, one: Space, other: Space) -> Overlap | None:
    """The overlap over whole pictures (region 0) that both spaces hold with the same input; None: there are too few.

    Raises:
        CorruptFile, MissingFile: what was committed of one of them cannot be read.
        StoreError: vectors have another dimension than their space.
    """
    chosen = _chosen(store.heads(one.dataset).by_batch, store.heads(other.dataset).by_batch)
    memory = _Memory(store, one, other, _state(chosen))
    if (known := memory.recall()) is not None:
        return known[0]
    overlap = _measured(store, one, other, chosen)
    memory.keep(overlap)
    return overlap


def summary(shares: npt.NDArray[np.float64], rows: int, batches: int) -> Overlap:
    """What the shares of queries (see `in_common`) come to."""
    worst = np.sort(shares)[: max(1, len(shares) // 10)]
    return Overlap(round(float(shares.mean()), 4), round(float(worst.mean()), 4), len(shares), rows, batches)


Chosen = Mapping[str, tuple[Head, Head]]


def _chosen(heads: Mapping[str, Head], others: Mapping[str, Head]) -> Chosen:
    """Batches that both spaces have, with what they hold now: the same few as long as those are there."""
    both = [batch for batch in heads.keys() & others.keys() if heads[batch].version and others[batch].version]
    found: dict[str, tuple[Head, Head]] = {}
    keys = 0
    for batch in heapq.nsmallest(MOST_BATCHES, both, key=_rank):
        keys += max(heads[batch].counts.ok, others[batch].counts.ok)
        if found and keys > MOST_KEYS:
            break
        found[batch] = heads[batch], others[batch]
    return found


def _state(chosen: Chosen) -> str:
    """Differs when the outcome may; a fold or a retried failure changes nothing."""
    bounds = [NEIGHBOURS, QUERIES, FEWEST_ROWS, MOST_ROWS, MOST_BYTES]
    said = [bounds, sorted((batch, one.content, other.content) for batch, (one, other) in chosen.items())]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _rank(name: str) -> bytes:
    """An order that has nothing to do with what is ordered, and is always the same."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _measured(store: Store, one: Space, other: Space, chosen: Chosen) -> Overlap | None:
    ours = [_resolved(store, one, batch, head) for batch, (head, _) in chosen.items()]
    theirs = [_resolved(store, other, batch, head) for batch, (_, head) in chosen.items()]
    most = min(MOST_ROWS, MOST_BYTES // (4 * max(one.dimension, other.dimension)))
    sample: list[str] = []
    for mine, its in zip(ours, theirs, strict=True):
        common = _inputs(*mine) & _inputs(*its)
        sample = heapq.nsmallest(most, common.union(sample), key=_rank)
    if len(sample) < FEWEST_ROWS:
        return None
    queries = np.arange(min(QUERIES, len(sample)))
    near = nearest(_vectors(one, ours, sample), queries, NEIGHBOURS)
    shares = in_common(near, nearest(_vectors(other, theirs, sample), queries, NEIGHBOURS))
    return summary(shares, len(sample), len(chosen))


Resolved = tuple[Chain, Manifest]


def _resolved(store: Store, space: Space, batch: str, head: Head) -> Resolved:
    chain = store.chain(space.dataset, batch)
    return chain, chain.get(head.version)


def _inputs(chain: Chain, manifest: Manifest) -> set[str]:
    """What the whole pictures of a batch were encoded from; equal pictures count once."""
    found: set[str] = set()
    for rows in chain.scan(manifest, ("region", "input_hash")):
        hashes, regions = (rows.column(name).to_pylist() for name in ("input_hash", "region"))
        found.update(each for each, region in zip(hashes, regions, strict=True) if region == 0)
    return found


def _vectors(space: Space, batches: Sequence[Resolved], sample: Sequence[str]) -> Vectors:
    """The vectors (n, D) of a space for the inputs in `sample`, in its order."""
    places = {input_hash: place for place, input_hash in enumerate(sample)}
    found = np.zeros((len(sample), space.dimension), np.float32)
    for chain, manifest in batches:
        for rows in chain.scan(manifest, ("input_hash", "embedding")):
            pairs = [(place, row) for row, each in enumerate(rows.column("input_hash").to_pylist())
                     if (place := places.get(each)) is not None]  # fmt: skip
            if pairs:
                into, of = map(list, zip(*pairs, strict=True))
                found[into] = vectors_of(rows, space.dimension)[of]
    return found


class _Memory:
    """What the overlap of two spaces was; it may be lost, and then it is measured again."""

    def __init__(self, store: Store, one: Space, other: Space, state: str) -> None:
        self._spaces = [store.files.url(space.dataset) for space in (one, other)]
        self._state = state
        self._remembered = Remembered(store.cache / "overlap.sqlite", TABLES)

    def recall(self) -> tuple[Overlap | None] | None:
        """What was remembered, if anything was of this state."""
        query = "select said from overlaps where one = ? and other = ? and state = ?"
        rows: list[tuple[str]] = []
        with suppress(*UNUSABLE):
            rows = self._remembered.do(
                lambda database: database.execute(query, (*self._spaces, self._state)).fetchall()
            )
        if not rows:
            return None
        said = json.loads(rows[0][0])
        return (said and Overlap(**said),)

    def keep(self, overlap: Overlap | None) -> None:
        row = (*self._spaces, self._state, json.dumps(overlap and asdict(overlap)))

        def write(database: sqlite3.Connection) -> None:
            with transaction(database):
                database.execute("insert or replace into overlaps values (?, ?, ?, ?)", row)

        with suppress(*UNUSABLE):
            self._remembered.do(write)
