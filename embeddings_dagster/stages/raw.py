"""raw_images: every picture of a batch found, hashed and measured, and its record; no pixel is decoded, no byte copied.

A record is taken only if it is the one that was listed, so that a row is of one time, whatever changes meanwhile.
"""

import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from embeddings_dagster import ids
from embeddings_dagster.errors import BadRecord, EmptyRegion, ItemError, RecordChanged, UnknownItem
from embeddings_dagster.ids import Key
from embeddings_dagster.images import Workshop
from embeddings_dagster.images.boxes import resolve
from embeddings_dagster.sources import Picture, Record, RegionRecord, Source
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.carry_out import Job, Made, Row, carry_out, failed_image
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.fields import Fields, fields_of, fields_recipe, plain_text, typed_columns
from embeddings_dagster.stages.opened import opened_source, workshop
from embeddings_dagster.stages.parallel import ordered_map
from embeddings_dagster.stages.plan import Plan
from embeddings_dagster.stages.statistics import require_handed_over
from embeddings_dagster.store import LedgerBatch, tables

STAGE = "raw_images"
MOST_REGIONS = 2**15 - 1  # their numbers have 16 bits

LedgerRow = Mapping[str, object]


def run_raw(context: StageContext, batch: str) -> Account:
    """Bring `raw_images` of one batch to the state of the ledger.

    Raises:
        UnknownItem: the batch is not in its source's ledger, or has pictures, and the settings have no such source.
        SourceError: the source cannot give the records of the batch; nothing is lost, nothing is concluded.
        CountsDoNotReconcile: the ledger counts other images than it lists; see also `carry_out`.
    """
    source_name = ids.source_of(batch)
    entry, rows = listed(context, batch)
    require_handed_over(STAGE, batch, "images", entry.live, len(rows))
    fields = fields_of(context.settings, source_name)
    # A batch that is all tombstones is emptied even when the settings have forgotten its source.
    source = _open(context, source_name) if rows else None

    def make(plan: Plan) -> Iterator[Made]:
        if todo := [image_id for image_id in rows if image_id in plan.images]:
            assert source is not None, "a batch with work to do has rows"
            yield from _made(context, source, batch, {image_id: rows[image_id] for image_id in todo})

    return carry_out(
        context,
        Job(
            stage=STAGE,
            chain=context.store.chain(STAGE, batch),
            table=tables.raw(fields),
            label={"recipe": fields_recipe(fields)} if fields else {},
            wanted={Key(image_id, 0): input_hash(row, fields) for image_id, row in rows.items()},
            inputs={f"sources/{source_name}": {"version": entry.since, "content": entry.source_state}},
            make=make,
            unit="images",
        ),
    )


def attempt(context: StageContext, batch: str, images: Collection[str]) -> dict[str, ItemError]:
    """What making the rows of some images anew would fail with, by image; nothing is written.

    Raises:
        UnknownItem, SourceError: as `run_raw` does.
    """
    _, rows = listed(context, batch)
    wanted = {image_id: rows[image_id] for image_id in sorted(images) if image_id in rows}
    made = _made(context, _open(context, ids.source_of(batch)), batch, wanted) if wanted else ()
    return {each.image_id: each.errors[0] for each in made if each.errors}


def listed(context: StageContext, batch: str) -> tuple[LedgerBatch, dict[str, LedgerRow]]:
    """A batch in the ledger of its source, and the rows of its live images, by id.

    Raises:
        UnknownItem: it is not there.
    """
    source_name = ids.source_of(batch)
    ledger = context.store.ledger(source_name)
    manifest = ledger.latest()
    if manifest is None or batch not in manifest.batches:
        raise UnknownItem(f"no batch {batch!r} in the ledger of source {source_name!r}; `embeddings status` lists them")
    live = (row for row in ledger.rows(manifest, batch).to_pylist() if not row["removed_at"])
    return manifest.batches[batch], {ids.image_id(source_name, row["local_id"], row["ordinal"]): row for row in live}


def _made(context: StageContext, source: Source, batch: str, rows: Mapping[str, LedgerRow]) -> Iterator[Made]:
    records = source.records(batch, pa.Table.from_pylist(list(rows.values()), schema=tables.LEDGER))
    with workshop(context.settings, context.stop) as pictures:
        fields = fields_of(context.settings, ids.source_of(batch))
        work = _Work(source, pictures, batch, fields, context.run_id, records)
        yield from ordered_map(lambda each: work.make(each, rows[each]), list(rows), threads=source.threads)


def input_hash(row: LedgerRow, fields: Fields) -> str:
    """The state of one ledger row: what discovery saw of the picture, without reading it; and the columns asked for."""
    seen = [row[name] for name in ("location", "size", "mtime_ns", "etag", "record_hash", "item_id")]
    if fields:
        seen.append(fields_recipe(fields))
    return hashlib.sha256(json.dumps(seen, ensure_ascii=True).encode()).hexdigest()


def _open(context: StageContext, name: str) -> Source:
    return opened_source(
        context.settings, name, download=context.download, retry_failed=context.retry_failed, stop=context.stop
    )


@dataclass(frozen=True)
class _Work:
    """What all pictures of one batch are made with; used by several threads."""

    source: Source
    pictures: Workshop
    batch: str
    fields: Fields
    run_id: str
    records: Mapping[tuple[str, int], Record]

    def make(self, image_id: str, row: LedgerRow) -> Made:
        try:
            return Made(image_id, [self._row(image_id, row)])
        except ItemError as error:
            return failed_image(image_id, [0], error)

    def _row(self, image_id: str, row: LedgerRow) -> Row:
        picture = Picture(str(row["local_id"]), int(str(row["ordinal"])), str(row["location"]))
        record = self._record(picture, row)
        if record.fault is not None:
            raise record.fault
        if len(record.regions) > MOST_REGIONS:
            raise BadRecord(f"{picture.local_id}: more than {MOST_REGIONS:,} panels; correct the record")
        data = self.source.read(picture, self.pictures.rules.max_bytes)
        found = self.pictures.probe(data)
        return {
            "image_id": image_id,
            "input_hash": input_hash(row, self.fields),
            "item_id": row["item_id"],
            "ordinal": row["ordinal"],
            "batch": self.batch,
            "location": row["location"],
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "format": found.format,
            "mode": found.mode,
            "width": found.width,
            "height": found.height,
            "regions": [_region(each, *found.upright) for each in record.regions],
            "scraped_at": record.scraped_at,
            "metadata": metadata_json(record.metadata),
            **typed_columns(record.metadata, self.fields),
            "run_id": self.run_id,
        }

    def _record(self, picture: Picture, row: LedgerRow) -> Record:
        record = self.records.get((picture.local_id, picture.ordinal))
        listed = row["record_hash"]
        if listed is None:
            return record or Record()
        if record is None:
            raise RecordChanged(
                f"{picture.local_id}: its record is no longer where it was listed; run again to see what became of it"
            )
        if record.digest() != listed:
            raise RecordChanged(f"{picture.local_id}: its record changed since it was listed; run again to take it")
        return record


def _region(told: RegionRecord, width: int, height: int) -> dict[str, object]:
    """A region as `raw_images` has it, its box in pixels of the upright picture; or why it has none."""
    box, problem = None, told.fault or None
    if told.region and not problem:
        try:
            box = resolve(told.form, told.values, width, height)._asdict()
        except EmptyRegion as error:
            problem = str(error)
    text = None if told.text is None else plain_text(told.text)
    return {"region": told.region, "box": box, "text": text, "problem": problem and plain_text(problem)}


def metadata_json(metadata: Mapping[str, object]) -> str:
    """Metadata as JSON that every reader takes: keys sorted, no NaN, no half of a surrogate pair but escaped."""
    try:
        text = json.dumps(metadata, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(metadata), sort_keys=True, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value
