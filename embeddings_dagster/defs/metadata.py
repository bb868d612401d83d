"""What a materialisation shows in the UI: counts, rates, a table of failures, a few thumbnails. All of bounded size."""

import base64
import io
from collections.abc import Mapping
from typing import Any, cast

import dagster as dg
import pyarrow as pa
from PIL import Image

from embeddings_dagster.stages.account import Account
from embeddings_dagster.store import Chain, Failure, Manifest

Metadata = dict[str, dg.MetadataValue[Any]]

FAILURES_SHOWN = 50
THUMBNAILS_SHOWN = 8
THUMBNAIL_PIXELS = 72  # a sheet of eight is about 12 kB of JPEG, and every materialisation keeps one
MESSAGE_CHARACTERS = 300


def account_metadata(account: Account) -> Metadata:
    """The counts of one stage of one batch, and its failures."""
    rate = account.processed / account.seconds if account.seconds else 0.0
    shown: Metadata = {
        "dagster/row_count": dg.MetadataValue.int(account.processed + account.skipped),
        "total": dg.MetadataValue.int(account.total),
        "processed": dg.MetadataValue.int(account.processed),
        "skipped": dg.MetadataValue.int(account.skipped),
        "failed": dg.MetadataValue.int(account.failed),
        "unit": dg.MetadataValue.text(account.unit),
        "reasons": dg.MetadataValue.json(dict(account.reasons)),
        "removed": dg.MetadataValue.int(account.removed),
        "reused": dg.MetadataValue.int(account.reused),
        "dataset": dg.MetadataValue.text(account.dataset),
        "version": dg.MetadataValue.int(account.version),
        "content": dg.MetadataValue.text(account.content),
        "seconds": dg.MetadataValue.float(account.seconds),
        "per_second": dg.MetadataValue.float(round(rate, 2)),
        "bytes_written": dg.MetadataValue.int(account.bytes_written),
    }
    if account.precisions:
        said = ", ".join(f"{precision} {rows:,}" for precision, rows in sorted(account.precisions.items()))
        shown["precision"] = dg.MetadataValue.text(said)
    if account.failures:
        shown["failures"] = failure_table(account.failures)
    return shown


def failure_table(failures: tuple[Failure, ...]) -> dg.TableMetadataValue:
    """The first failures; `embeddings failures` lists them all."""
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "image": failure.image_id,
                    "region": failure.region,
                    "reason": failure.error_class,
                    "message": failure.message[:MESSAGE_CHARACTERS],
                    "retryable": failure.retryable,
                    "attempts": failure.attempts,
                }
            )
            for failure in failures[:FAILURES_SHOWN]
        ]
    )


def plain_metadata(values: Mapping[str, object]) -> Metadata:
    """Plain values as metadata; those that are None are left out."""
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: object) -> dg.MetadataValue[Any]:
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(value)
    if isinstance(value, str):
        return dg.MetadataValue.text(value)
    return dg.MetadataValue.json(cast("Any", value))


def column_schema(schema: pa.Schema, described: Mapping[str, str] | None = None) -> dg.TableSchema:
    """A table's columns as Dagster shows them; `described` replaces a type that the settings alone do not tell."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                field.name,
                (described or {}).get(field.name, str(field.type)),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )


def thumbnail_sheet(chain: Chain, manifest: Manifest) -> dg.MarkdownMetadataValue | None:
    """The first pictures of a batch side by side, as a picture inside markdown; none where there is no picture."""
    found: list[bytes] = []
    for rows in chain.scan(manifest, ("image_id", "region", "thumbnail")):
        found += [data for data in rows.column("thumbnail").to_pylist() if data]
        if len(found) >= THUMBNAILS_SHOWN:
            break
    if not found:
        return None
    sheet = base64.b64encode(_sheet(found[:THUMBNAILS_SHOWN])).decode()
    return dg.MetadataValue.md(f"![the first pictures of the batch](data:image/jpeg;base64,{sheet})")


def _sheet(thumbnails: list[bytes]) -> bytes:
    side = THUMBNAIL_PIXELS
    sheet = Image.new("RGB", (side * len(thumbnails), side), "white")
    for place, data in enumerate(thumbnails):
        with Image.open(io.BytesIO(data)) as picture:
            small = picture.convert("RGB")
        small.thumbnail((side, side))
        sheet.paste(small, (place * side + (side - small.width) // 2, (side - small.height) // 2))
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=80)
    return out.getvalue()
