"""raw_images: every picture of a batch found, hashed and measured; nothing is decoded, no bytes are copied."""

import hashlib
import json
from collections.abc import Iterator, Mapping

from embeddings_dagster import ids
from embeddings_dagster.errors import ItemError, UnknownItem
from embeddings_dagster.ids import Key
from embeddings_dagster.images import DecodeRules, probe
from embeddings_dagster.sources import Source
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.carry_out import Job, Made, carry_out, failed_image
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.opened import decode_rules, opened_source
from embeddings_dagster.stages.parallel import ordered_map
from embeddings_dagster.stages.plan import Plan
from embeddings_dagster.store.tables import RAW

STAGE = "raw_images"
THREADS = 2

LedgerRow = Mapping[str, object]


def run_raw(context: StageContext, batch: str) -> Account:
    """Bring `raw_images` of one batch to the state of the ledger.

    Raises:
        UnknownItem: the batch is not in its source's ledger.
    """
    source_name = ids.source_of(batch)
    ledger = context.store.ledger(source_name)
    manifest = ledger.latest()
    if manifest is None or batch not in manifest.batches:
        raise UnknownItem(f"no batch {batch!r} in the ledger of source {source_name!r}; `embeddings status` lists them")
    entry = manifest.batches[batch]
    listed = ledger.rows(manifest, batch).to_pylist()
    rows = {_image_id(source_name, row): row for row in listed if not row["removed_at"]}
    source = opened_source(context.settings, source_name) if rows else None
    rules = decode_rules(context.settings)

    def make(plan: Plan) -> Iterator[Made]:
        todo = [image_id for image_id in rows if image_id in plan.images]
        if not todo:
            return iter(())
        assert source is not None, "a batch with work to do has rows"
        run_id = context.run_id
        return ordered_map(lambda each: _make(source, rules, batch, each, rows[each], run_id), todo, threads=THREADS)

    return carry_out(
        context,
        Job(
            stage=STAGE,
            chain=context.store.chain(STAGE, batch),
            table=RAW,
            label={},
            wanted={Key(image_id, 0): input_hash(row) for image_id, row in rows.items()},
            inputs={f"sources/{source_name}": {"version": entry.since, "content": entry.source_state}},
            make=make,
        ),
    )


def input_hash(row: LedgerRow) -> str:
    """The state of one ledger row: what discovery saw of the file, without reading it."""
    seen = [row[name] for name in ("location", "size", "mtime_ns", "etag", "record_hash", "item_id")]
    return hashlib.sha256(json.dumps(seen, ensure_ascii=True).encode()).hexdigest()


def _image_id(source: str, row: LedgerRow) -> str:
    return ids.image_id(source, str(row["local_id"]), int(str(row["ordinal"])))


def _make(source: Source, rules: DecodeRules, batch: str, image_id: str, row: LedgerRow, run_id: str) -> Made:
    try:
        data = source.read(str(row["location"]), rules.max_bytes)
        found = probe(data, rules)
    except ItemError as error:
        return failed_image(image_id, [0], error)
    return Made(
        image_id,
        [
            {
                "image_id": image_id,
                "input_hash": input_hash(row),
                "item_id": row["item_id"],
                "ordinal": row["ordinal"],
                "batch": batch,
                "location": row["location"],
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "format": found.format,
                "mode": found.mode,
                "width": found.width,
                "height": found.height,
                "regions": [],
                "scraped_at": None,
                "metadata": "{}",
                "run_id": run_id,
            }
        ],
    )
