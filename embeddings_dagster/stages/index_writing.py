"""The segments of an index's next generation: what stays, less the rows that died, and what is new, in as many segments
as its rows need. All that is written can be taken back, as long as no generation names it.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embeddings_dagster.encoders import ModelIdentity, unit_length
from embeddings_dagster.errors import StoreError
from embeddings_dagster.index import (
    Block,
    GenerationManifest,
    Generations,
    SegmentEntry,
    discard_segment,
    read_deletions,
    write_deletions,
)
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.index_inputs import Inputs
from embeddings_dagster.stages.index_segments import cut, make_segment, segment_sizes
from embeddings_dagster.stages.index_state import IndexState, Settled, StateDamaged
from embeddings_dagster.store.parts import keys_of

VECTOR_COLUMNS = ("image_id", "region", "input_hash", "embedding")


class IndexWriting:
    """What one attempt writes; `bytes` of it until now."""

    def __init__(self, context: StageContext, generations: Generations, identity: ModelIdentity) -> None:
        self._context, self._generations, self._identity = context, generations, identity
        self._store = context.store
        self.bytes = 0
        self._undo: list[Callable[[], None]] = []

    def write(
        self, state: IndexState, origin: GenerationManifest | None, inputs: Inputs, settled: Settled
    ) -> tuple[SegmentEntry, ...]:
        """Write what is new; returns the segments of the next generation."""
        segments = origin.segments if origin else ()
        try:
            kept = (self._less(segment, settled.dead.get(segment.uuid)) for segment in segments)
            return (*(segment for segment in kept if segment), *self._new_segments(state, inputs))
        except BaseException:
            self.take_back()
            raise

    def _less(self, segment: SegmentEntry, dead: Sequence[int] | None) -> SegmentEntry | None:
        """A segment as the next generation sees it, or None if no row of it is left."""
        if not dead:
            return segment
        folder = self._generations.folder
        labels = np.union1d(read_deletions(self._store, folder, segment), np.array(dead, np.int64))
        if len(labels) == segment.rows:
            return None
        deletions = write_deletions(self._store.files, folder, labels)
        self._undo.append(partial(self._store.files.delete, self._generations.path(deletions.file)))
        self.bytes += deletions.bytes
        return replace(segment, deletions=deletions)

    def _new_segments(self, state: IndexState, inputs: Inputs) -> list[SegmentEntry]:
        files, folder = self._store.files, self._generations.folder
        sizes = segment_sizes(sum(state.unplaced().values()), self._context.settings.index.segment_rows)
        blocks = self._blocks(state, inputs, sum(sizes))
        segments = []
        for rows, some in zip(sizes, cut(blocks, sizes), strict=False):
            name = uuid.uuid4().hex
            self._undo.append(partial(discard_segment, files, folder, name))
            placed = self._placed(state, name, some)
            segment = make_segment(self._context, self._generations, self._identity, name, rows, placed)
            self.bytes += sum(file.bytes for file in segment.files.values())
            segments.append(segment)
        return segments

    def _placed(self, state: IndexState, name: str, blocks: Iterator[Block]) -> Iterator[Block]:
        """The rows of one segment; each is given its place as it passes."""
        label = 0
        for block in blocks:
            yield block
            state.place(name, keys_of(block.rows), label)
            label += len(block.rows)

    def _blocks(self, state: IndexState, inputs: Inputs, total: int) -> Iterator[Block]:
        """The rows that have no place yet, with their vectors, batch by batch."""
        label = 0
        for batch, count in state.unplaced().items():
            wanted = state.unplaced_of(batch)
            chain, manifest = inputs.resolved(batch)
            end = label + count
            for rows in chain.scan(manifest, VECTOR_COLUMNS, keys=wanted):
                self._context.check_stop()
                keys = keys_of(rows)
                if [wanted[key] for key in keys] != rows.column("input_hash").to_pylist():
                    raise StateDamaged(f"what is remembered of batch {batch} is not what it holds")
                vectors = vectors_of(rows, self._identity.dimension)
                # The rows keep their length; in an index the inner product is to be the cosine.
                label += len(keys)
                if self._context.progress is not None:
                    self._context.progress(f"{self._generations.model}_index", label, total)
                yield Block(rows, batch, vectors if self._identity.normalised else unit_length(vectors))
            if label != end:
                raise StateDamaged(f"batch {batch} does not hold all that is remembered of it")

    def take_back(self) -> None:
        """Remove what was written; what cannot be removed now is nobody's, and gc's to take."""
        for undo in self._undo:
            with suppress(OSError):
                undo()


def vectors_of(rows: pa.RecordBatch, dimension: int) -> npt.NDArray[np.float32]:
    """The embeddings of rows as one array (rows, dimension).

    Raises:
        StoreError: they have another dimension.
    """
    column = rows.column("embedding")
    if column.type.list_size != dimension:
        raise StoreError(f"embeddings of dimension {column.type.list_size} where the model has {dimension}")
    vectors: npt.NDArray[np.float32] = column.flatten().to_numpy().reshape(-1, dimension)
    return vectors
