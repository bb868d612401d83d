"""The definitions of one project, put together; importing this builds none."""

import warnings

import dagster as dg

from embeddings_dagster.defs.analysis import analysis_assets, analysis_checks, analysis_jobs, analysis_schedules
from embeddings_dagster.defs.assets import image_assets
from embeddings_dagster.defs.catalog import catalog_asset, catalog_checks
from embeddings_dagster.defs.checks import all_checks
from embeddings_dagster.defs.compaction import compact_jobs, compact_schedules, compact_sensors
from embeddings_dagster.defs.executor import batch_executor
from embeddings_dagster.defs.garbage import garbage_job, garbage_schedule
from embeddings_dagster.defs.jobs import asset_jobs, discover_job
from embeddings_dagster.defs.models import model_assets
from embeddings_dagster.defs.refresh import refresh_job, refresh_schedules
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.schedules import all_schedules
from embeddings_dagster.defs.sensors import all_sensors


def project_defs(project: Project) -> dg.Definitions:
    """The definitions that close over a project."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # backfill policies; Dagster is pinned, and tests hold them
        assets = [*image_assets(project), *model_assets(project), catalog_asset(project), *analysis_assets(project)]
    return dg.Definitions(
        assets=assets,
        asset_checks=[*all_checks(project), *catalog_checks(project), *analysis_checks(project)],
        jobs=[
            *asset_jobs(project),
            *analysis_jobs(project),
            discover_job(project),
            refresh_job(project),
            *compact_jobs(project),
            garbage_job(project),
        ],
        sensors=[*all_sensors(project), *compact_sensors(project)],
        schedules=[
            *all_schedules(project),
            *refresh_schedules(project),
            *compact_schedules(project),
            *analysis_schedules(project),
            garbage_schedule(project),
        ],
        executor=batch_executor(project.pool_limits()),
    )
