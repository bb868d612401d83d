"""The rows of an export: which, in which order, under which names; and their vectors, block by block.

One generation is resolved and opened, and all is read from that. Ids are held in memory, vectors never: a block is a
few megabytes copied out of the segments' memory-mapped files.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from embeddings_dagster import ids
from embeddings_dagster.catalog import Catalogue, Filter
from embeddings_dagster.errors import IndexUnavailable, UnknownItem
from embeddings_dagster.ids import ALL, WHOLE
from embeddings_dagster.index import Generation, GenerationManifest
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.index_versions import serving_generations
from embeddings_dagster.stages.models import ModelRecord, records
from embeddings_dagster.stages.opened import default_model, model_settings

BLOCK_BYTES = 8 * 2**20  # of vectors held at one time
NUMBERED = re.compile(r"0*([1-9][0-9]*)(?:\.[A-Za-z][A-Za-z0-9]*)?")  # 7, 0007.png; not 7.0, which is no whole number

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Wanted:
    """What to export; the defaults ask for everything there is of the model that search takes by default.

    `where` are conditions on records, as the catalogue has them (`brand=Acme`). `pictures`: of an item with several,
    the first one that has a vector, or all.
    """

    model: str | None = None
    sources: tuple[str, ...] = ()
    batches: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    pictures: Literal["first", "all"] = "first"


class _Row(NamedTuple):
    """A whole picture; fields are in the order that rows are sorted by."""

    source: str
    natural: str
    local_id: str
    ordinal: int
    segment: int
    label: int


class Rows:
    """Rows in natural order of their ids, the same for every export of a generation.

    `ids`: local ids where all rows are of one source, else full ones. `catalogue`: the generation of the catalogue that
    conditions were put to. `considered`: rows of the sources and batches asked for; of which those `unmatched` by the
    conditions, of `parts` of pictures, and of an item's `further` pictures were left out.
    """

    def __init__(self, record: ModelRecord, generation: Generation, rows: Sequence[_Row], wanted: Wanted) -> None:
        self.record, self.wanted = record, wanted
        self.manifest: GenerationManifest = generation.manifest
        self.sources = tuple(dict.fromkeys(wanted.sources)) or tuple(sorted({row.source for row in rows}))
        self.ids = [_name(row, wanted, alone=len(self.sources) == 1) for row in rows]
        self.catalogue: int | None = None
        self.considered, self.unmatched, self.parts, self.further = len(rows), 0, 0, 0
        self._segments = generation.segments
        self._places = np.array([(row.segment, row.label) for row in rows], np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dimension(self) -> int:
        return self.manifest.dimension

    @property
    def numbered(self) -> bool:
        """Whether the ids say no more than the row does: they are 1, 2, … N, in one source."""
        if len(self.sources) != 1:
            return False
        matches = (NUMBERED.fullmatch(each) for each in self.ids)
        return all(match is not None and match[1] == str(place) for place, match in enumerate(matches, start=1))

    @property
    def block_rows(self) -> int:
        """How many rows a block has."""
        return max(1, BLOCK_BYTES // (4 * self.dimension))

    def blocks(self) -> Iterator[Vectors]:
        """All vectors in order, float32 (at most `block_rows`, D)."""
        for start in range(0, len(self), self.block_rows):
            yield self._read(self._places[start : start + self.block_rows])

    def vectors(self, rows: Numbers) -> Vectors:
        """The vectors of some rows, float32 (n, D); for a few."""
        return self._read(self._places[rows])

    def _read(self, places: Numbers) -> Vectors:
        found = np.empty((len(places), self.dimension), np.float32)
        for number in np.unique(places[:, 0]):
            here = places[:, 0] == number
            found[here] = self._segments[number].vectors(places[here, 1])
        return found


def select_rows(context: StageContext, wanted: Wanted) -> Rows:
    """Resolve what is wanted to rows of the generation that searches see now.

    Raises:
        UnknownItem: there is no such model, source or batch.
        IndexUnavailable: the model has no index, or nothing in it is wanted; or there is no catalogue to ask.
        BadQuery: a condition makes no sense.
        CorruptFile, MissingFile: a file of the index or of the catalogue is damaged.
    """
    name = wanted.model or default_model(context.settings)
    model_settings(context.settings, name)
    generations = serving_generations(context.store, name)
    record = next(each for each in records(context.store, name) if each.fp12 == generations.fp12)
    manifest = generations.latest()
    if manifest is None:
        raise IndexUnavailable(f"the index of model {name!r} is not there any more; make it with `embeddings run`")
    _require_known(manifest, wanted, name)
    images, catalogue = _fulfilling(context, wanted)
    generation = Generation.open(generations, manifest)
    considered, unmatched, whole, parts = _live(generation, wanted, images)
    taken = _first_pictures(whole) if wanted.pictures == "first" else whole
    if not taken:
        raise IndexUnavailable(_nothing(manifest, wanted, name, parts))
    rows = Rows(record, generation, taken, wanted)
    rows.catalogue, rows.parts, rows.further = catalogue, parts, len(whole) - len(taken)
    rows.considered, rows.unmatched = considered, unmatched
    return rows


def _require_known(manifest: GenerationManifest, wanted: Wanted, name: str) -> None:
    sources = {ids.source_of(batch) for batch in manifest.consumed}
    for what, asked, there in (("source", wanted.sources, sources), ("batch", wanted.batches, manifest.consumed)):
        for each in asked:
            if each not in there:
                known = ", ".join(sorted(there)[:10]) or "none"
                raise UnknownItem(
                    f"no {what} {each!r} in the index of model {name!r} (there: {known}); correct the name, or bring "
                    "it in with `embeddings run`"
                )


def _fulfilling(context: StageContext, wanted: Wanted) -> tuple[set[str] | None, int | None]:
    """The images whose records fulfil the conditions (None: all do), and the catalogue's generation that says so."""
    if not wanted.where:
        return None, None
    conditions = Filter(where=wanted.where, sources=wanted.sources, batches=wanted.batches, regions=WHOLE)
    with Catalogue(context.store).open() as snapshot:
        return {key.image_id for key in snapshot.keys(conditions)}, snapshot.manifest.version


def _live(generation: Generation, wanted: Wanted, images: set[str] | None) -> tuple[int, int, list[_Row], int]:
    """How many rows there are of what is wanted, and how many do not fulfil the conditions; the whole pictures that
    do, in order, and how many parts of them there are."""
    found: list[_Row] = []
    considered = unmatched = parts = 0
    selection = generation.selection(regions=ALL, sources=wanted.sources, batches=wanted.batches)
    for number, (segment, mask) in enumerate(zip(generation.segments, selection.masks, strict=True)):
        labels = np.flatnonzero(mask & segment.live)
        considered += len(labels)
        image_ids = segment.rows.column("image_id").take(labels).to_pylist()
        for label, image_id, region in zip(labels.tolist(), image_ids, segment.regions[labels].tolist(), strict=True):
            if images is not None and image_id not in images:
                unmatched += 1
                continue
            if region:
                parts += 1
                continue
            source, local_id, ordinal = ids.parse_image_id(image_id)
            found.append(_Row(sys.intern(source), ids.natural_key(local_id), local_id, ordinal, number, label))
    found.sort()
    return considered, unmatched, found, parts


def _first_pictures(rows: Sequence[_Row]) -> list[_Row]:
    """Of each item, the picture with the lowest ordinal."""
    items: dict[tuple[str, str], _Row] = {}
    for row in rows:
        items.setdefault((row.source, row.local_id), row)
    return list(items.values())


def _name(row: _Row, wanted: Wanted, *, alone: bool) -> str:
    full = ids.image_id(row.source, row.local_id, row.ordinal if wanted.pictures == "all" else 0)
    return full.removeprefix(f"{row.source}:") if alone else full


def _nothing(manifest: GenerationManifest, wanted: Wanted, name: str, parts: int) -> str:
    of = " ".join([*wanted.sources, *wanted.batches, *wanted.where])
    what = f"{parts:,} parts of pictures, and no whole one," if parts else "no picture"
    return (
        f"generation {manifest.version} of the index of model {name!r} holds {what} {f'of {of}' if of else 'at all'}; "
        "widen what is asked for, or bring pictures in with `embeddings run`"
    )
