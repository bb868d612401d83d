"""What the store's tests share: a small table, its rows, and a look at what a version says."""

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from embeddings_dagster.ids import Key
from embeddings_dagster.store import Chain, Failure, Manifest, PartLimits, Store, Writer
from embeddings_dagster.store.tables import embeddings

TABLE = embeddings(4)
DATASET = "embeddings/tiny/0123456789ab"
BATCH = "art__0001"
NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
TWO_A_PART = PartLimits(images=2)


def row(image: str, region: int = 0, input_hash: str | None = None) -> dict[str, object]:
    """A row whose vector follows from its input hash, so that a wrong vector shows."""
    input_hash = input_hash or f"hash-{image}"
    return {
        "image_id": image,
        "region": region,
        "input_hash": input_hash,
        "embedding": vector(input_hash),
        "norm": 1.0,
        "precision": "float",
        "run_id": "run",
    }


def vector(input_hash: str) -> np.ndarray:
    return np.frombuffer(input_hash.encode().ljust(4, b".")[-4:], dtype=np.uint8).astype(np.float32)


def failure(image: str, region: int = 0, message: str = "not a picture", attempts: int = 1) -> Failure:
    return Failure(image, region, f"hash-{image}", "embed", "DecodeFailed", message, False, NOON, attempts)


def chain_of(store: Store) -> Chain:
    return store.chain(DATASET, BATCH)


def writer_of(chain: Chain, limits: PartLimits = TWO_A_PART, label: Mapping[str, str] | None = None) -> Writer:
    return chain.writer(TABLE, run_id="run", label=label or {"fingerprint": "f"}, limits=limits)


def commit(chain: Chain, *images: str, failures: tuple[Failure, ...] = (), limits: PartLimits = TWO_A_PART) -> Manifest:
    """Add images and failures to what there is, and finish."""
    writer = writer_of(chain, limits)
    for image in images:
        writer.add([row(image)])
    for each in failures:
        writer.fail(each)
    rows = writer.present().keys() | {Key(image, 0) for image in images}
    failed = (writer.failed().keys() | {Key(each.image_id, each.region) for each in failures}) - {*images}
    return writer.finish(inputs={}, total=len(rows | failed))


def said(chain: Chain, manifest: Manifest | None) -> dict[Key, object]:
    """What a version says: the input hash of each row, the failure of each failed key; vectors are checked."""
    if manifest is None:
        return {}
    table = chain.rows(manifest)
    rows = table.to_pylist()
    assert all(np.array_equal(each["embedding"], vector(each["input_hash"])) for each in rows)
    found: dict[Key, object] = {Key(each["image_id"], each["region"]): each["input_hash"] for each in rows}
    assert len(found) == len(rows) == manifest.counts.ok
    failures = {Key(each.image_id, each.region): each for each in chain.failures(manifest)}
    assert not found.keys() & failures.keys()
    return {**found, **failures}
