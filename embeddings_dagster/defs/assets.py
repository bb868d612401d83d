"""`raw_images` and `rgb_images`: pictures found, and pictures any reader can open, batch by batch."""

from collections.abc import Iterator, Sequence

import dagster as dg

from embeddings_dagster import ids
from embeddings_dagster.defs import tags
from embeddings_dagster.defs.batches import Done, Event, each_batch
from embeddings_dagster.defs.config import StageConfig
from embeddings_dagster.defs.metadata import column_schema, thumbnail_sheet
from embeddings_dagster.defs.partitions import add_keys, image_batches
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.images import recipe
from embeddings_dagster.settings import DagsterSettings
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.opened import decode_rules
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.store.tables import RAW, RGB, Table

IMAGES = "images"
RAW_CODE = "raw-2"  # raise it when the rows of raw_images come out differently for the same files


def image_assets(project: Project) -> Sequence[dg.AssetsDefinition]:
    """The assets before any model."""
    return [raw_images(project), rgb_images(project)]


def asset_metadata(table: Table) -> dict[str, object]:
    return {"dagster/column_schema": column_schema(table.schema)}


def backfill_policy(settings: DagsterSettings) -> dg.BackfillPolicy:
    """How many batches a backfill gives to one run."""
    return dg.BackfillPolicy.multi_run(settings.batches_per_run)


def raw_images(project: Project) -> dg.AssetsDefinition:
    """The asset that finds, hashes and measures."""
    settings = project.settings.dagster

    @dg.asset(
        name="raw_images",
        description="Every picture of a batch found, hashed and measured; those that fail are kept as failures. "
        "Materialising a batch reads its source again first.",
        partitions_def=image_batches,
        group_name=IMAGES,
        kinds={"python", "parquet"},
        owners=settings.owners,
        op_tags=settings.op_tags,
        code_version=RAW_CODE,
        metadata=asset_metadata(RAW),
        backfill_policy=backfill_policy(settings),
    )
    def raw(context: dg.AssetExecutionContext, config: StageConfig) -> Iterator[Event]:
        read = set() if tags.DISCOVERED not in context.run.tags else set(project.settings.sources)

        def work(stage: StageContext, key: str) -> Done:
            source = ids.source_of(key)
            if source not in read and source in project.settings.sources:
                found = discover(stage, source, wait=True)
                add_keys(context.instance, [each for each, entry in found.manifest.batches.items() if entry.live])
                read.add(source)
            return Done(run_raw(stage, key))

        yield from each_batch(context, project, config, work)

    return raw


def rgb_images(project: Project) -> dg.AssetsDefinition:
    """The asset that decodes."""
    settings = project.settings.dagster

    @dg.asset(
        name="rgb_images",
        description="Every decodable picture as 8-bit sRGB bytes that any reader can open, with a thumbnail.",
        deps=["raw_images"],
        partitions_def=image_batches,
        group_name=IMAGES,
        kinds={"python", "parquet"},
        owners=settings.owners,
        op_tags=settings.op_tags,
        code_version=recipe(decode_rules(project.settings)),
        metadata=asset_metadata(RGB),
        backfill_policy=backfill_policy(settings),
    )
    def rgb(context: dg.AssetExecutionContext, config: StageConfig) -> Iterator[Event]:
        def work(stage: StageContext, key: str) -> Done:
            account = run_rgb(stage, key)
            return Done(account, _thumbnails(project, account))

        yield from each_batch(context, project, config, work)

    return rgb


def _thumbnails(project: Project, account: Account) -> dict[str, dg.MetadataValue]:
    chain = project.store.chain(account.dataset, account.batch)
    sheet = thumbnail_sheet(chain, chain.get(account.version))
    return {"thumbnails": sheet} if sheet else {}
