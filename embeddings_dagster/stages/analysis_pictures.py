"""The whole pictures that searches of a model see, in the order of their ids, with their vectors: what analyses read.

One generation of the serving index, resolved once; vectors stay in their files until they are asked for.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embeddings_dagster.errors import IndexUnavailable, UnknownItem
from embeddings_dagster.index import Generation, GenerationManifest, Generations
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.index_versions import serving_generations
from embeddings_dagster.store import Store

Numbers = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

COLUMNS = ("image_id", "batch", "input_hash")


class NewestIndex(NamedTuple):
    """What a search opens now. `state` differs when its rows may; a compaction, or a commit of the same, changes
    nothing."""

    generations: Generations
    manifest: GenerationManifest

    @property
    def state(self) -> str:
        consumed = sorted(
            (batch, each.content, each.failed, each.newest) for batch, each in self.manifest.consumed.items()
        )
        return hashlib.sha256(json.dumps([self.manifest.fingerprint, consumed]).encode()).hexdigest()


def newest_index(store: Store, model: str) -> NewestIndex | None:
    """The index that searches of a model see; None while it has none. Raises CorruptFile, FormatTooNew."""
    try:
        generations = serving_generations(store, model)
    except IndexUnavailable:
        return None
    manifest = generations.latest()
    return NewestIndex(generations, manifest) if manifest else None


def analysed_model(settings: Settings, asked: str | None = None) -> str:
    """The model of pictures whose vectors analyses take: the one asked for, else `analysis.model`, else the first.

    Raises:
        UnknownItem: the settings have none of that name, or none at all.
    """
    named = asked or settings.analysis.model
    if named is not None and named not in settings.models:
        known = ", ".join(settings.models) or "none"
        raise UnknownItem(f"no model of pictures {named!r} in the settings (there: {known}); correct the name")
    name = named or next(iter(settings.models), None)
    if name is None:
        raise UnknownItem("the settings name no model; add one under `models`")
    return name


@dataclass(frozen=True)
class Pictures:
    """`table` has `COLUMNS`; picture i lies at `labels[i]` of `segments[i]`."""

    generation: Generation
    table: pa.Table
    segments: npt.NDArray[np.int32]
    labels: Numbers

    @classmethod
    def open(cls, index: NewestIndex) -> "Pictures":
        """Raises:
        CorruptFile, MissingFile: a file of the index is not what was committed.
        """
        generation = Generation.open(index.generations, index.manifest)
        places = [np.flatnonzero(each.live & (each.regions == 0)) for each in generation.segments]
        found = zip(generation.segments, places, strict=True)
        schema = pa.schema([(name, pa.string()) for name in COLUMNS])
        tables = [each.rows.select(COLUMNS).take(pa.array(labels)).cast(schema) for each, labels in found]
        table = pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()
        segments = np.repeat(np.arange(len(places), dtype=np.int32), [len(each) for each in places])
        order = (
            table.column("image_id").to_numpy().astype(object).argsort(kind="stable")
            if len(table)
            else np.zeros(0, int)
        )
        labels = np.concatenate([np.zeros(0, np.int64), *places])
        return cls(generation, table.take(pa.array(order, pa.int64())), segments[order], labels[order])

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def dimension(self) -> int:
        return self.generation.manifest.dimension

    def column(self, name: str) -> list[str]:
        """All values of a column."""
        values: list[str] = self.table.column(name).to_pylist()
        return values

    def vectors(self, numbers: Numbers) -> Vectors:
        """The vectors (n, D) float32 of some pictures, of length 1."""
        found = np.empty((len(numbers), self.dimension), np.float32)
        segments, labels = self.segments[numbers], self.labels[numbers]
        for number in np.unique(segments).tolist():
            of_it = np.flatnonzero(segments == number)
            of_it = of_it[np.argsort(labels[of_it], kind="stable")]  # in the order of the file
            found[of_it] = self.generation.segments[number].vectors(labels[of_it])
        return found
