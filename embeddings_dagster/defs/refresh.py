"""The job and the schedule that ask for the pictures of catalogues again, so that a shop's new photo is found."""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from embeddings_dagster.defs import tags
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.signals import stop_on_signals
from embeddings_dagster.errors import EmbeddingsError, Stopped
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.refresh import refresh_downloads, refreshable

REFRESH_CATALOGUES = "refresh_catalogues"


class RefreshConfig(dg.Config):
    """Run config of the `refresh_catalogues` job."""

    source: str | None = Field(default=None, description="This catalogue only; empty: all of them.")


def refresh_job(project: Project) -> dg.JobDefinition:
    """One conditional request for each picture; the sensor then asks for runs of the batches that changed."""

    @dg.op(
        name="ask_for_pictures_again",
        description="Asks every address of the catalogues whether its picture changed, and fetches those that did.",
        tags=project.settings.dagster.op_tags,
    )
    def ask_again(context: dg.OpExecutionContext, config: RefreshConfig) -> None:
        catalogues = refreshable(project.settings)
        names = catalogues if config.source is None else [config.source]
        if config.source in project.settings.sources and config.source not in catalogues:
            there = ", ".join(catalogues) or "none"
            raise dg.Failure(
                f"source {config.source!r} is no catalogue, its pictures have no addresses (catalogues: {there}); "
                "correct the run config",
                allow_retries=False,
            )
        problems: list[str] = []
        with stop_on_signals() as stop:
            stage = project.stage_context(context.run_id, context.log.info, stop)
            for name in names:
                _refresh(stage, name, problems)
        if problems:
            raise dg.Failure("\n".join(problems), allow_retries=False)

    @dg.job(name=REFRESH_CATALOGUES, description="Ask for the pictures of every catalogue again.", tags=tags.OURS)
    def refresh_catalogues() -> None:
        ask_again()

    return refresh_catalogues


def _refresh(stage: StageContext, name: str, problems: list[str]) -> None:
    try:
        refresh_downloads(stage, name)
    except Stopped as stopped:
        raise dg.DagsterExecutionInterruptedError(str(stopped)) from None
    except (EmbeddingsError, OSError) as error:  # one catalogue costs the others nothing
        problems.append(f"source {name}: {type(error).__name__}: {error}")


def refresh_schedules(project: Project) -> Sequence[dg.ScheduleDefinition]:
    """The schedule; none for a project without catalogues."""
    if not refreshable(project.settings):
        return []
    return [
        dg.ScheduleDefinition(
            name=REFRESH_CATALOGUES,
            job_name=REFRESH_CATALOGUES,
            cron_schedule=project.settings.dagster.refresh_cron,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Asks for the pictures of every catalogue again; unchanged ones cost a conditional request.",
        )
    ]
