"""Pictures as the input of a model: each region of each image, decoded from `rgb_images`."""

from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa

from embeddings_dagster.encoders import Encoded, Region, Unit
from embeddings_dagster.ids import Key
from embeddings_dagster.images import Box
from embeddings_dagster.stages.carry_out import Made
from embeddings_dagster.stages.opened import workshop
from embeddings_dagster.stages.vector_rows import BatchInputs, vector_row

COLUMNS = ("image_id", "region", "input_hash", "image", "box", "text")


class Pictures(BatchInputs):
    """The regions of one batch, and how they are encoded."""

    def encoded(self, todo: Collection[Key]) -> Iterator[Made]:
        """See `BatchInputs`."""
        batches = self.upstream.scan(self.rgb, COLUMNS, keys=todo)
        with workshop(self.context.settings, self.context.stop) as pictures:
            for each in self.engine.encode(self.model, units(batches), pictures.decode, stop=self.context.stop):
                yield self._made(each)

    def _made(self, encoded: Encoded) -> Made:
        unit = encoded.unit
        errors = dict(encoded.left_out)
        if encoded.error is not None:
            errors |= dict.fromkeys([region.region for region in unit.regions], encoded.error)
            return Made(unit.image_id, errors=errors)
        assert encoded.vectors is not None
        keys = [Key(unit.image_id, region.region) for region in unit.regions]
        rows = [  # what nobody wanted is for who counts to refuse
            vector_row(key, self.wanted.get(key, ""), vector, encoded.precision, self.context.run_id)
            for key, vector in zip(keys, encoded.vectors, strict=True)
        ]
        return Made(unit.image_id, rows, errors=errors)


def units(batches: Iterator[pa.RecordBatch]) -> Iterator[Unit]:
    """Rows of `rgb_images`, an image's regions side by side, as the units that encoders take."""
    held: list[dict[str, Any]] = []
    for batch in batches:
        for row in batch.to_pylist():
            if held and held[0]["image_id"] != row["image_id"]:
                yield _unit(held)
                held = []
            held.append(row)
    if held:
        yield _unit(held)


def _unit(rows: list[dict[str, Any]]) -> Unit:
    regions = tuple(
        Region(row["region"], Box(**row["box"]) if row["box"] else None, row["text"], row["input_hash"])
        for row in sorted(rows, key=lambda row: row["region"])
    )
    data = next(row["image"]["bytes"] for row in rows if row["region"] == 0)
    return Unit(rows[0]["image_id"], data, regions)
