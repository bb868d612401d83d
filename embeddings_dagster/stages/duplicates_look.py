"""Looks at pictures that were never seen before: their thumbnails, out of `rgb_images`, batch by batch."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from embeddings_dagster.ids import Key
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.duplicates_lookup import Looks, Seen, Signatures
from embeddings_dagster.stages.duplicates_signature import signature
from embeddings_dagster.stages.vector_inputs import rgb_rows, wanted_vectors

COLUMNS = ("image_id", "region", "width", "height", "thumbnail")
UPSTREAM = "rgb_images"


def look_at(
    context: StageContext, inputs: str, images: Sequence[str], batches: Sequence[str], input_hashes: Sequence[str]
) -> tuple[Looks, int]:
    """What each of some pictures looks like, and how many had to be looked at. `inputs`: see `ModelIdentity.inputs`.

    A picture that `rgb_images` has otherwise by now, or not any more, stays unknown until the index has followed.

    Raises:
        Stopped: a stop was asked for; what was looked at is remembered.
        CorruptFile: a part of rgb_images is damaged.
    """
    memory = Signatures(context.store)
    looks = memory.recall(input_hashes)
    new = np.flatnonzero(~looks.known).tolist()
    if not new:
        return looks, 0
    by_batch: dict[str, dict[Key, str]] = {}
    for number in new:
        by_batch.setdefault(batches[number], {})[Key(images[number], 0)] = input_hashes[number]
    done = 0
    for batch in sorted(by_batch):
        for seen in _looked_at(context, inputs, batch, by_batch[batch]):
            memory.remember(seen)
            done += len(seen)
            if context.progress is not None:
                context.progress("thumbnails", done, len(new))
    return memory.recall(input_hashes), done


def _looked_at(context: StageContext, inputs: str, batch: str, wanted: Mapping[Key, str]) -> Iterator[list[Seen]]:
    chain = context.store.chain(UPSTREAM, batch)
    manifest = chain.latest()
    if manifest is None:
        return
    present = wanted_vectors(inputs, rgb_rows(chain, manifest, inputs))
    same = {key: input_hash for key, input_hash in wanted.items() if present.get(key) == input_hash}
    for rows in chain.scan(manifest, COLUMNS, keys=same):
        context.check_stop()
        columns = (rows.column(name).to_pylist() for name in COLUMNS)
        yield [
            Seen(same[Key(image_id, region)], signature(thumbnail) if thumbnail else None, width * height)
            for image_id, region, width, height, thumbnail in zip(*columns, strict=True)
        ]
