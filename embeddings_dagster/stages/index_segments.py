"""Makes a segment of rows that come one block after the other: the one place that says of what kind a segment is."""

from collections.abc import Iterable, Iterator, Sequence

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.index import (  # fmt: skip
    Block,
    Generations,
    SegmentEntry,
    SegmentRecall,
    Trial,
    write_graph_segment,
    write_segment,
)
from embeddings_dagster.index.tuning import tuned
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.text_queries import text_queries

ROWS, TEXTS = "rows", "texts"  # kinds of query: rows of the segment itself, and words in the model that made it


def segment_sizes(rows: int, most: int) -> list[int]:
    """How many rows go into each of as few segments as are needed: about as many, so that no small one is left over."""
    count = -(-rows // most)
    return [rows * (number + 1) // count - rows * number // count for number in range(count)]


def cut(blocks: Iterator[Block], sizes: Sequence[int]) -> Iterator[Iterator[Block]]:
    """The blocks of each segment, split where one ends. Each has to be read before the next."""
    left: Block | None = None

    def some(rows: int) -> Iterator[Block]:
        nonlocal left
        while rows > 0 and (block := left or next(blocks, None)) is not None:
            size = min(rows, len(block.rows))
            left = _part(block, size, len(block.rows)) if size < len(block.rows) else None
            rows -= size
            yield _part(block, 0, size)

    for rows in sizes:
        yield some(rows)


def _part(block: Block, start: int, end: int) -> Block:
    return Block(block.rows.slice(start, end - start), block.batch, block.vectors[start:end])


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

    Few rows become a flat segment, and many a graph, unless the settings ask for exact answers or comparing every row
    is as cheap. The model is loaded only for a graph, and only where it reads text.

    Raises:
        StoreError: `blocks` hold another number of rows, or vectors of another dimension.
        Stopped: a stop was asked for.
    """
    settings, files = context.settings.index, context.store.files
    if rows < settings.hnsw_rows or settings.recall_target == 1:
        return write_segment(files, generations.folder, name, identity.dimension, rows, blocks)

    def tick(done: int) -> None:
        context.check_stop()
        if context.progress is not None:
            context.progress(f"{generations.model}_index graph", done, rows)

    def tune(trial: Trial) -> SegmentRecall | None:
        queries = {ROWS: trial.vectors[trial.held_out], TEXTS: text_queries(context, generations.model, identity)}
        recall = tuned(trial, queries, settings.recall_target, context.check_stop)
        said = "comparing every row is as cheap" if recall is None else f"lists of {recall.ef}, recall {recall.mean}"
        context.log(f"{generations.model}_index: {rows:,} rows in a graph: {said}")
        return recall

    return write_graph_segment(
        context.store, generations.folder, name, identity.dimension, rows, blocks, tick=tick, tune=tune
    )
