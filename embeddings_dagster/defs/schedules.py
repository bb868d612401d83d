"""Schedules that reconcile: whatever a sensor missed, or the settings changed, is asked for once a night.

The sensor follows the sources; this compares every stage of every batch with what the settings ask for now (another
background, another model), so that no run of thousands of batches begins because somebody saved a file.
"""

from collections.abc import Sequence
from itertools import islice

import dagster as dg

from embeddings_dagster.defs import tags
from embeddings_dagster.defs.asking import batches_under_way
from embeddings_dagster.defs.jobs import EMBED_BATCHES, REFRESH_INDEXES
from embeddings_dagster.defs.looking import Looker
from embeddings_dagster.defs.partitions import add_keys
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.sensors import housekeeping, index_requests
from embeddings_dagster.errors import ModelError
from embeddings_dagster.stages.status import batch_statuses
from embeddings_dagster.stages.tally import wants_run

RECONCILE_BATCHES = "reconcile_batches"
RECONCILE_INDEXES = "reconcile_indexes"
MOST_RUNS = 1000  # of one tick; what is left is for the next

Asked = list[dg.RunRequest] | dg.SkipReason


def all_schedules(project: Project) -> Sequence[dg.ScheduleDefinition]:
    return [reconcile_batches(project), reconcile_indexes(project)]


def reconcile_batches(project: Project) -> dg.ScheduleDefinition:
    """Asks for every batch that is not complete and current at every stage, for the settings' recipe and models, or has
    failures that may have healed: a shop that was closed, a disk that was full."""
    looker = Looker(project)

    @dg.schedule(
        name=RECONCILE_BATCHES,
        job_name=EMBED_BATCHES,
        cron_schedule=project.settings.dagster.reconcile_cron,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Asks for every batch that is missing, incomplete or stale at any stage, by the settings of now, "
        "or that has failures which may heal.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> Asked:
        housekeeping(context.instance, project)
        looked = looker.look(f"schedule:{RECONCILE_BATCHES}", context.log.info, project.settings.sources, full=True)
        try:
            identities = project.identities()
        except ModelError as error:
            return dg.SkipReason(f"{type(error).__name__}: {error}")
        statuses = batch_statuses(project.store, project.settings, identities)
        found = (status for status in statuses if status.source in looked.found)
        wanting = list(islice((status for status in found if wants_run(project.store, status)), MOST_RUNS))
        add_keys(context.instance, [status.batch for status in wanting])
        busy = batches_under_way(context.instance)
        requests = [_request(status.batch) for status in wanting if status.batch not in busy]
        return requests or dg.SkipReason("; ".join(looked.problems.values()) or "every batch is current")

    return tick


def _request(batch: str) -> dg.RunRequest:
    return dg.RunRequest(run_key=batch, partition_key=batch, tags={tags.DISCOVERED: "true"})


def reconcile_indexes(project: Project) -> dg.ScheduleDefinition:
    """Asks for a refresh of every index that lags behind."""

    @dg.schedule(
        name=RECONCILE_INDEXES,
        job_name=REFRESH_INDEXES,
        cron_schedule=project.settings.dagster.reconcile_cron,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Asks for a refresh of every index that lags behind its embeddings, and of the catalogue.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> Asked:
        requests, reasons = index_requests(context.instance, project)
        return requests or dg.SkipReason("; ".join(reasons) or "every index is current")

    return tick
