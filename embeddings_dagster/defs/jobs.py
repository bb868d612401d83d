"""The jobs: one batch from file to vectors, the indexes, everything, and a look at the sources by hand."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from embeddings_dagster.defs import tags
from embeddings_dagster.defs.behind import behind, in_order, ledger_batches, raw_heads
from embeddings_dagster.defs.looking import look
from embeddings_dagster.defs.models import embeddings_name, index_name
from embeddings_dagster.defs.partitions import add_keys
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.signals import stop_on_signals
from embeddings_dagster.stages.catalog import ASSET

EMBED_BATCHES = "embed_batches"
REFRESH_INDEXES = "refresh_indexes"
EVERYTHING = "everything"
DISCOVER = "discover"

AssetJob = Any  # Dagster exports no name for what define_asset_job returns
NAMED = 20


def asset_jobs(project: Project) -> Sequence[AssetJob]:
    """The jobs that materialise assets."""
    batch = ["raw_images", "rgb_images", *map(embeddings_name, project.settings.spaces)]
    indexes = [index_name(model) for model in project.settings.spaces]
    return [
        dg.define_asset_job(
            EMBED_BATCHES,
            selection=dg.AssetSelection.assets(*batch),
            description="One batch, from raw_images to the embeddings of every model.",
            tags=tags.OURS,
        ),
        dg.define_asset_job(
            REFRESH_INDEXES,
            selection=dg.AssetSelection.assets(*indexes, ASSET),
            description="Bring every index and the catalogue to the state of the batches; costs what changed.",
            tags=tags.OURS,
        ),
        dg.define_asset_job(
            EVERYTHING,
            selection=dg.AssetSelection.assets(*batch, *indexes, ASSET),
            description="One batch, from raw_images to embeddings, and then every index and the catalogue.",
            tags=tags.OURS,
        ),
    ]


class DiscoverConfig(dg.Config):
    """Run config of the `discover` job."""

    source: str | None = Field(default=None, description="Look at this source only; empty: at all of them.")


def discover_job(project: Project) -> dg.JobDefinition:
    """One tick of the sensor by hand: it waits for the second look, adds partitions, and launches nothing."""

    @dg.op(
        name="look_at_sources",
        description="Reads the sources, writes the ledgers, adds the partitions of new batches, and names the batches "
        "that now want a run.",
        tags=project.settings.dagster.op_tags,
    )
    def look_at_sources(context: dg.OpExecutionContext, config: DiscoverConfig) -> None:
        sources = list(project.settings.sources) if config.source is None else [config.source]
        with stop_on_signals() as stop:
            looked = look(project, context.run_id, context.log.info, sources=sources, wait_unless=stop)
        batches = ledger_batches(project.store, looked.found)
        added = add_keys(context.instance, [key for key, entry in batches.items() if entry.live])
        wanting = in_order(batches, behind(raw_heads(project.store, batches), batches))
        for line in report(added, wanting):
            context.log.info(line)
        if looked.problems:
            raise dg.Failure("\n".join(looked.problems.values()), allow_retries=False)

    @dg.job(
        name=DISCOVER, description="Look at the sources now, so that new batches show as partitions.", tags=tags.OURS
    )
    def discover() -> None:
        look_at_sources()

    return discover


def report(added: Sequence[str], wanting: Sequence[str]) -> list[str]:
    """What a look found, in words."""
    if not wanting:
        return [f"{len(added)} partitions added; every batch is as its source"]
    names = ", ".join(wanting[:NAMED]) + (", …" if len(wanting) > NAMED else "")
    return [
        f"{len(added)} partitions added; {len(wanting)} batches want a run: {names}",
        f"launch {EMBED_BATCHES} for them (tag {tags.PARTITION}), or leave it to the sensor",
    ]
