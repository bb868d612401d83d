"""Makes a segment of rows that come one block after the other: the one place that says of what kind a segment is."""

from collections.abc import Iterable

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.index import Block, Generations, SegmentEntry, write_segment
from embeddings_dagster.stages.context import StageContext


def make_segment(
    context: StageContext,
    generations: Generations,
    identity: ModelIdentity,
    name: str,
    rows: int,
    blocks: Iterable[Block],
) -> SegmentEntry:
    """Write `rows` rows as the segment `name`, labelled in the order they come. What is left where it fails is for
    `discard_segment` to remove.

    Raises:
        StoreError: `blocks` hold another number of rows, or vectors of another dimension.
        Stopped: a stop was asked for.
    """
    return write_segment(context.store.files, generations.folder, name, identity.dimension, rows, blocks)
