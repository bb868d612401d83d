"""A snapshot of a few pictures, made as a refresh makes it, and a reader of records that knows no SQL."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embeddings_dagster.catalog import CatalogueManifest, Picture, Region, Snapshot, proven, writing

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def picture(
    image_id: str,
    metadata: Mapping[str, Any] | None = None,
    *,
    batch: str = "shop__1",
    text: str | None = None,
    panels: Sequence[str | None] = (),
    scraped_at: datetime | None = None,
) -> Picture:
    """A picture of 40 × 30 pixels with its panels."""
    local_id = image_id.split(":", 1)[1]
    parts = (Region(number, (number, 0, 10, 20), said) for number, said in enumerate(panels, start=1))
    regions = (Region(0, None, text), *parts)
    return Picture(
        image_id, batch, local_id, 0, f"{local_id}.png", 40, 30, scraped_at, metadata or {}, regions, image_id
    )


def make_file(path: Path, pictures: Iterable[Picture]) -> CatalogueManifest:
    """A catalogue file of these pictures, and a manifest as if it were committed."""
    with writing(path, new=True) as writer:
        for number, each in enumerate(pictures, start=1):
            writer.add(number, each)
    rows, images = proven(path)
    return CatalogueManifest(1, None, NOON, "run", path.name, path.stat().st_size, "", rows, images, {})


def snapshot_of(folder: Path, *pictures: Picture) -> Snapshot:
    """An opened catalogue of these pictures."""
    path = folder / "catalogue.sqlite"
    path.unlink(missing_ok=True)
    return Snapshot(make_file(path, pictures), path)


def ids(records: Iterable[Any]) -> list[str]:
    """`image_id`, with `/region` after it for parts, in order."""
    return [each.image_id + (f"/{each.region}" if each.region else "") for each in records]
