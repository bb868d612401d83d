"""The signatures of pictures by their input hash, remembered under `cache/`: a run reads the thumbnails of new pictures
alone. Derived: deleted or damaged, it costs reading them again.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from embeddings_dagster.stages.duplicates_signature import RULE, Signature
from embeddings_dagster.store import Store
from embeddings_dagster.store.remembered import Remembered, transaction

TABLES = f"""-- {RULE}
create table if not exists signatures (input_hash text primary key, hash integer, colour integer, pixels integer)
    without rowid;"""
CHUNK = 500  # variables in one SQLite statement
WRAP = 2**64  # SQLite's integers have a sign


class Seen(NamedTuple):
    """What is known of a picture. `signature` is None where its thumbnail is no picture; `pixels`: width × height."""

    input_hash: str
    signature: Signature | None
    pixels: int


@dataclass
class Looks:
    """Columns over some pictures. `known`: whether it was ever looked at; `hashed`: whether that gave a signature."""

    hashes: npt.NDArray[np.uint64]
    colours: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.int64]
    known: npt.NDArray[np.bool_]
    hashed: npt.NDArray[np.bool_]

    @classmethod
    def none(cls, count: int) -> "Looks":
        whole = np.zeros(count, np.int64)
        return cls(np.zeros(count, np.uint64), whole, whole.copy(), np.zeros(count, bool), np.zeros(count, bool))


class Signatures:
    """The look-up of a store."""

    def __init__(self, store: Store) -> None:
        self._remembered = Remembered(store.cache / "signatures.sqlite", TABLES)

    def recall(self, input_hashes: Sequence[str]) -> Looks:
        """What is known of pictures, in their order."""
        return self._remembered.do(lambda connection: _recall(connection, input_hashes))

    def remember(self, seen: Iterable[Seen]) -> None:
        """Take in what was looked at."""
        rows = [
            (each.input_hash, *(_signed(each.signature) if each.signature else (None, None)), each.pixels)
            for each in seen
        ]

        def write(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.executemany("insert or replace into signatures values (?, ?, ?, ?)", rows)

        if rows:
            self._remembered.do(write)


def _signed(found: Signature) -> tuple[int, int]:
    return (found.hash - WRAP if found.hash >= WRAP // 2 else found.hash), found.colour


def _recall(connection: sqlite3.Connection, input_hashes: Sequence[str]) -> Looks:
    looks = Looks.none(len(input_hashes))
    waiting = iter(enumerate(input_hashes))
    while chunk := list(islice(waiting, CHUNK)):
        places: dict[str, list[int]] = {}
        for place, input_hash in chunk:
            places.setdefault(input_hash, []).append(place)
        marks = ", ".join("?" * len(places))
        statement = f"select input_hash, hash, colour, pixels from signatures where input_hash in ({marks})"
        for input_hash, hash_, colour, pixels in connection.execute(statement, list(places)):
            where = places[input_hash]
            looks.known[where], looks.pixels[where] = True, pixels
            if hash_ is not None:
                looks.hashes[where], looks.colours[where], looks.hashed[where] = hash_ % WRAP, colour, True
    return looks
