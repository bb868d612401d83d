"""What the catalogue takes from raw_images: each picture with its record, and the regions of it that are there."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from embeddings_dagster.catalog import Picture, Region
from embeddings_dagster.sources.addresses import without_secrets
from embeddings_dagster.stages.index_inputs import Inputs, failed_images
from embeddings_dagster.stages.index_state import OfferRow
from embeddings_dagster.store.content import row_digests

DATASET = "raw_images"
TAKEN = ("image_id", "item_id", "ordinal", "location", "width", "height", "regions", "scraped_at", "metadata")


def offers(inputs: Inputs, batch: str) -> Iterator[OfferRow]:
    """What a batch has to offer: each of its pictures, as a whole, by the digest of what is taken from it."""
    chain, manifest = inputs.resolved(batch)
    failed = failed_images(chain, manifest)
    for part in chain.scan(manifest, TAKEN):
        for image_id, digest in zip(part.column("image_id").to_pylist(), digests(part), strict=True):
            yield image_id, 0, digest, image_id not in failed


def digests(part: pa.RecordBatch) -> list[str]:
    """What tells one state of each row from another."""
    return [digest.hex() for digest in row_digests(part, TAKEN)]


def pictures(part: pa.RecordBatch, batch: str) -> Iterator[Picture]:
    """The rows of `raw_images` as the catalogue has them."""
    for row, digest in zip(part.to_pylist(), digests(part), strict=True):
        yield Picture(
            image_id=row["image_id"],
            batch=batch,
            item_id=row["item_id"],
            ordinal=row["ordinal"],
            location=without_secrets(row["location"]),
            width=row["width"],
            height=row["height"],
            scraped_at=row["scraped_at"],
            metadata=_metadata(row["metadata"]),
            regions=tuple(_regions(row["regions"] or ())),
            digest=digest,
        )


def _metadata(text: str | None) -> Mapping[str, Any]:
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def _regions(listed: Sequence[Mapping[str, Any]]) -> Iterator[Region]:
    """The whole, and each panel that has a box; one that has none fails further down, and is no live row."""
    whole = next((each["text"] for each in listed if each["region"] == 0), None)
    yield Region(0, None, whole or None)
    for each in listed:
        box = each["box"]
        if each["region"] and box and not each.get("problem"):
            yield Region(each["region"], (box["x"], box["y"], box["w"], box["h"]), each["text"] or None)
