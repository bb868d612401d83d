"""The analyses: near-duplicates, the map, each model's canaries, and the check of groups; with their job and schedule.

They read what searches see and stand beside the line: no run of pictures waits for them, and the nightly job makes
them. Each costs little where nothing changed; the canaries are encoded again, since that is what they are for.
"""

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

from embeddings_dagster.defs import tags
from embeddings_dagster.defs.batches import failure_of
from embeddings_dagster.defs.jobs import AssetJob
from embeddings_dagster.defs.metadata import Metadata, plain_metadata
from embeddings_dagster.defs.models import index_name
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.signals import stop_on_signals
from embeddings_dagster.errors import Stopped
from embeddings_dagster.stages.analysis_pictures import analysed_model
from embeddings_dagster.stages.canaries import FLOCK, Drift, look_at_canaries
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.duplicates import ASSET as DUPLICATES
from embeddings_dagster.stages.duplicates import CODE as DUPLICATES_CODE
from embeddings_dagster.stages.duplicates import refresh_duplicates
from embeddings_dagster.stages.duplicates_sheet import SHOWN, contact_sheet, largest_clusters
from embeddings_dagster.stages.embedding_map import ASSET as MAP
from embeddings_dagster.stages.embedding_map import CODE as MAP_CODE
from embeddings_dagster.stages.embedding_map import read_small_picture, refresh_map
from embeddings_dagster.stages.groups import groups_cohere

GROUP = "analysis"
ANALYSE = "analyse"


def canaries_name(model: str) -> str:
    return f"{model}_canaries"


def analysis_assets(project: Project) -> Sequence[dg.AssetsDefinition]:
    """Near-duplicates, the map, and the canaries of every model of pictures; nothing where there is no model."""
    if not _models(project):
        return []
    return [
        duplicates_asset(project),
        map_asset(project),
        *(canaries_asset(project, name) for name in _models(project)),
    ]


def _models(project: Project) -> list[str]:
    return list(project.settings.models)


def _upstream(project: Project) -> list[dg.AssetDep]:
    pictures = dg.AssetDep("rgb_images", partition_mapping=dg.AllPartitionMapping())
    return [dg.AssetDep(index_name(analysed_model(project.settings))), pictures]


@contextmanager
def _stage(context: dg.AssetExecutionContext, project: Project, asset: str) -> Iterator[StageContext]:
    """What a stage is given; its errors as Dagster takes them."""
    try:
        with stop_on_signals() as stop:
            yield project.stage_context(context.run.run_id, project.watch.log or context.log.info, stop)
    except Stopped as stopped:
        raise dg.DagsterExecutionInterruptedError(str(stopped)) from None
    except Exception as error:
        raise failure_of(context, project.settings.dagster, {asset: error}) from error


def duplicates_asset(project: Project) -> dg.AssetsDefinition:
    """The asset of clusters. It reads the store: `deps` is lineage, not data."""
    settings = project.settings.dagster

    @dg.asset(
        name=DUPLICATES,
        description="Clusters of pictures that are nearly the same, by perceptual hash and cosine together; a search "
        "shows one of each.",
        deps=_upstream(project),
        group_name=GROUP,
        kinds={"python", "parquet"},
        owners=settings.owners,
        op_tags=settings.op_tags,
        code_version=DUPLICATES_CODE,
    )
    def near_duplicates(context: dg.AssetExecutionContext) -> dg.MaterializeResult[object]:
        with _stage(context, project, DUPLICATES) as stage:
            report = refresh_duplicates(stage, analysed_model(project.settings))
            shown: Metadata = {"dagster/row_count": dg.MetadataValue.int(report.members)}
            if report.clusters:
                sheet = contact_sheet(stage.store, largest_clusters(stage.store, SHOWN))
                shown |= _picture("contact_sheet", "the largest clusters", sheet)
        return _result(report.generation, {**shown, **plain_metadata(report.as_dict())})

    return near_duplicates


def map_asset(project: Project) -> dg.AssetsDefinition:
    """The asset of the map."""
    settings = project.settings.dagster

    @dg.asset(
        name=MAP,
        description="Pictures in two dimensions, those that the model finds alike side by side; of many, a sample.",
        deps=_upstream(project),
        group_name=GROUP,
        kinds={"python", "parquet"},
        owners=settings.owners,
        op_tags=settings.op_tags,
        code_version=MAP_CODE,
    )
    def embedding_map(context: dg.AssetExecutionContext) -> dg.MaterializeResult[object]:
        with _stage(context, project, MAP) as stage:
            report = refresh_map(stage, analysed_model(project.settings))
            shown = _picture("map", "the map", read_small_picture(stage.store, report.model))
        count: Metadata = {"dagster/row_count": dg.MetadataValue.int(report.shown)}
        return _result(report.generation, {**count, **shown, **plain_metadata(report.as_dict())})

    return embedding_map


def canaries_asset(project: Project, model: str) -> dg.AssetsDefinition:
    """The asset that keeps the reference vectors of a model's fingerprints."""
    settings = project.settings.dagster

    @dg.asset(
        name=canaries_name(model),
        description=f"Sixteen fixed pictures, encoded by each fingerprint of {model}: the reference that `no_drift` "
        "compares with. Made once for a fingerprint, and never changed.",
        group_name=GROUP,
        kinds={"python", "parquet"},
        owners=settings.owners,
        op_tags=settings.op_tags,
        pool=tags.GPU_POOL,
        code_version=FLOCK,
    )
    def canaries(context: dg.AssetExecutionContext) -> dg.MaterializeResult[object]:
        with _stage(context, project, canaries_name(model)) as stage:
            found = look_at_canaries(stage, model, project.engine)
        return dg.MaterializeResult(metadata=_told(found), data_version=dg.DataVersion(found.fingerprint[:12]))

    return canaries


def _told(found: Drift) -> Metadata:
    cosines = list(found.cosines.values())
    summary = {"found": str(found), "least_cosine": min(cosines) if cosines else None}
    return plain_metadata({**summary, **found.as_dict()})


def _result(generation: int | None, metadata: Metadata) -> dg.MaterializeResult[object]:
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(str(generation or 0)))


def _picture(name: str, title: str, jpeg: bytes | None) -> Metadata:
    if jpeg is None:
        return {}
    return {name: dg.MetadataValue.md(f"![{title}](data:image/jpeg;base64,{base64.b64encode(jpeg).decode()})")}


def analysis_checks(project: Project) -> Iterator[dg.AssetChecksDefinition]:
    """Drift of every model of pictures; and groups, where a source says what its groups are."""
    has_groups = any(source.groups is not None for source in project.settings.sources.values())
    for model in _models(project):
        yield _drift_check(project, model)
        if has_groups:
            yield _groups_check(project, model)


def _drift_check(project: Project, model: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=canaries_name(model),
        name="no_drift",
        description="The canaries, encoded now, have the vectors that their fingerprint had at first.",
        op_tags=project.settings.dagster.op_tags,
        pool=tags.GPU_POOL,
    )
    def no_drift(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        try:
            with stop_on_signals() as stop:
                stage = project.stage_context(context.run.run_id, project.watch.log or context.log.info, stop)
                found = look_at_canaries(stage, model, project.engine)
        except Stopped as stopped:
            raise dg.DagsterExecutionInterruptedError(str(stopped)) from None
        return dg.AssetCheckResult(passed=found.passed, description=str(found), metadata=_told(found))

    return no_drift


def _groups_check(project: Project, model: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=index_name(model),
        name="groups_cohere",
        description="Pictures of one group are more alike than pictures of different groups, by the margin of their "
        "source.",
        op_tags=project.settings.dagster.op_tags,
    )
    def cohere() -> dg.AssetCheckResult:
        found = groups_cohere(project.store, project.settings, model)
        return dg.AssetCheckResult(
            passed=found.passed,
            description=found.description,
            severity=dg.AssetCheckSeverity.WARN,  # the index is sound; what it finds may not be
            metadata=plain_metadata(found.detail),
        )

    return cohere


def analysis_jobs(project: Project) -> Sequence[AssetJob]:
    """All analyses, with their checks."""
    if not _models(project):
        return []
    names = [DUPLICATES, MAP, *map(canaries_name, _models(project))]
    return [
        dg.define_asset_job(
            ANALYSE,
            selection=dg.AssetSelection.assets(*names),
            description="Near-duplicates, the map of pictures, and whether models still give the vectors they gave.",
            tags=tags.OURS,
        )
    ]


def analysis_schedules(project: Project) -> Sequence[dg.ScheduleDefinition]:
    """Once a night, when the indexes have followed."""
    if not _models(project):
        return []
    return [
        dg.ScheduleDefinition(
            name=ANALYSE,
            job_name=ANALYSE,
            cron_schedule=project.settings.dagster.analyse_cron,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Near-duplicates, the map of the pictures, and the canaries.",
        )
    ]
