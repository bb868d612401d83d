"""Hits as they are shown: each with its record, the place of its picture, and what every model says of it."""

from collections.abc import Sequence

from embeddings_dagster import ids
from embeddings_dagster.catalog import Record
from embeddings_dagster.search.locations import Locations
from embeddings_dagster.search.opened import Opened
from embeddings_dagster.search.ranking import Group
from embeddings_dagster.search.records import Records
from embeddings_dagster.search.results import ModelScore, OtherRegion, SearchHit


def present(
    groups: Sequence[Group], before: int, opened: Sequence[Opened], records: Records | None, locations: Locations
) -> tuple[SearchHit, ...]:
    """The hits of a page; `before` it there were so many."""
    known = records.snapshot.rows(group.best.key for group in groups) if records else {}
    unknown = {group.best.key.image_id: group.best.batch for group in groups if group.best.key not in known}
    read = locations.read(unknown)
    return tuple(
        _hit(rank, group, opened, known.get(group.best.key), locations, read)
        for rank, group in enumerate(groups, start=before + 1)
    )


def _hit(
    rank: int, group: Group, opened: Sequence[Opened], record: Record | None, locations: Locations, read: dict[str, str]
) -> SearchHit:
    (image_id, region), source = group.best.key, ids.source_of(group.best.key.image_id)
    return SearchHit(
        rank=rank,
        image_id=image_id,
        region=region,
        score=group.best.score,
        scores=tuple(map(_model_score, opened, group.best.scores)),
        source=source,
        batch=group.best.batch,
        location=read.get(image_id) if record is None else locations.shown(source, record.location),
        title=record.title if record else None,
        text=record.text if record else None,
        box=record.box if record else None,
        metadata=record.metadata if record else None,
        others=tuple(OtherRegion(row.key.region, row.score) for row in group.others),
        folded=tuple(group.folded),
    )


def _model_score(opened: Opened, score: float | None) -> ModelScore:
    manifest = opened.generation.manifest
    return ModelScore(opened.record.name, score, manifest.fingerprint, manifest.version, manifest.run_id)
