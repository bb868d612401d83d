"""What the vectors of a batch are made of: the key and the input hash of each, told from rows of `rgb_images`.

A vector is reused if and only if its input hash and its model's fingerprint are equal.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa

from embeddings_dagster.ids import Key
from embeddings_dagster.store import Chain, Manifest

COLUMNS = ("image_id", "region", "input_hash", "text")


class RgbRow(NamedTuple):
    """What of a row of `rgb_images` may decide a vector."""

    key: Key
    input_hash: str
    text: str | None


def wanted_vectors(inputs: str, rows: Iterable[RgbRow]) -> dict[Key, str]:
    """The vectors that a model makes of these rows, all rows of an image among them; see `ModelIdentity.inputs`."""
    if inputs == "texts":
        return {row.key: text_hash(row.text) for row in rows if row.text and row.text.strip()}
    if inputs == "images":
        return _of_whole_images(list(rows))
    return {row.key: row.input_hash for row in rows}


def _of_whole_images(rows: list[RgbRow]) -> dict[Key, str]:
    """Everything there is of an image decides each of its vectors, and which region it is."""
    images: dict[str, list[tuple[int, str, str | None]]] = {}
    for key, input_hash, text in rows:
        images.setdefault(key.image_id, []).append((key.region, input_hash, text))
    said = {image_id: json.dumps(sorted(regions)) for image_id, regions in images.items()}
    return {row.key: hashlib.sha256(f"{row.key.region} {said[row.key.image_id]}".encode()).hexdigest() for row in rows}


def text_hash(text: str) -> str:
    """What decides a text's vector, beside the model."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def rgb_rows(chain: Chain, manifest: Manifest, inputs: str) -> list[RgbRow]:
    """The live rows of a version of `rgb_images`, with what a model of those inputs needs of them."""
    columns = COLUMNS[:3] if inputs == "regions" else COLUMNS
    table: pa.Table = chain.rows(manifest, columns)
    values = [column.to_pylist() for column in table.columns]
    texts = values.pop() if inputs != "regions" else [None] * len(table)
    return [RgbRow(Key(image_id, region), *said) for image_id, region, *said in zip(*values, texts, strict=True)]
