"""The job that merges the segments of every index, the schedule that asks for it, and the sensor for what cannot wait.

The schedule asks once an hour, where anything is due; the sensor only where so many small segments came since that
searches feel them. Both read one manifest an index.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import dagster as dg
from pydantic import Field

from embeddings_dagster.defs import tags
from embeddings_dagster.defs.asking import next_attempt
from embeddings_dagster.defs.metadata import plain_metadata
from embeddings_dagster.defs.models import index_name
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.signals import stop_on_signals
from embeddings_dagster.errors import EmbeddingsError, ModelError, Stopped
from embeddings_dagster.stages.compact import Due, compact_index, compaction_due

COMPACT_INDEXES = "compact_indexes"
FOLLOW_SEGMENTS = "follow_segments"
MAX_SECONDS = 600  # for as long, and for the merge that has begun by then, a refresh of the index waits

Asked = dg.RunRequest | dg.SkipReason


class CompactConfig(dg.Config):
    """Run config of an op of the `compact_indexes` job."""

    max_seconds: float = Field(default=MAX_SECONDS, description="No merge begins later; the next run goes on.")


def compact_jobs(project: Project) -> Sequence[dg.JobDefinition]:
    """One op for each index, in the pool of its refreshes; no job for a project without models."""
    ops = [_compact_op(project, name) for name in project.settings.spaces]
    if not ops:
        return []

    @dg.job(
        name=COMPACT_INDEXES,
        description="Merge small segments of every index into large ones, and leave dead rows behind. Answers stay "
        "the same; each merge is a commit.",
        tags=tags.OURS,
    )
    def compact_indexes() -> None:
        for op in ops:
            op()

    return [compact_indexes]


def _compact_op(project: Project, name: str) -> dg.OpDefinition:
    @dg.op(
        name=f"compact_{name}",
        description=f"Merges what is due of {index_name(name)}; a pinned index is left alone.",
        tags=project.settings.dagster.op_tags,
        pool=tags.index_pool(name),
    )
    def compact(context: dg.OpExecutionContext, config: CompactConfig) -> None:
        try:
            identity = project.identity(name)
        except ModelError as error:  # nothing is added to its index here, and what there is can wait
            context.log.warning(f"{index_name(name)} is left alone: {error}")
            return
        try:
            with stop_on_signals() as stop:
                stage = project.stage_context(context.run_id, context.log.info, stop)
                report = compact_index(stage, name, identity, max_seconds=config.max_seconds)
        except Stopped as stopped:
            raise dg.DagsterExecutionInterruptedError(str(stopped)) from None
        except (EmbeddingsError, OSError) as error:  # it is asked for again, later each time
            raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error
        shown = plain_metadata(report.as_dict())
        context.add_output_metadata(shown)
        if report.merges:
            context.log_event(dg.AssetObservation(index_name(name), metadata=shown))

    return compact


def compact_schedules(project: Project) -> Sequence[dg.ScheduleDefinition]:
    """The schedule; none for a project without models."""
    if not project.settings.spaces:
        return []

    @dg.schedule(
        name=COMPACT_INDEXES,
        job_name=COMPACT_INDEXES,
        cron_schedule=project.settings.dagster.compact_cron,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Asks for a compaction where an index has segments to merge.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> Asked:
        return _ask(context.instance, project, lambda due: due.wanted)

    return [tick]


def compact_sensors(project: Project) -> Sequence[dg.SensorDefinition]:
    """The sensor; none for a project without models."""
    if not project.settings.spaces:
        return []

    @dg.sensor(
        name=FOLLOW_SEGMENTS,
        job_name=COMPACT_INDEXES,
        description="Asks for a compaction at once where so many small segments have piled up that searches feel it.",
        minimum_interval_seconds=project.settings.dagster.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def tick(context: dg.SensorEvaluationContext) -> Asked:
        return _ask(context.instance, project, lambda due: due.urgent)

    return [tick]


def _ask(instance: dg.DagsterInstance, project: Project, wants: Callable[[Due], bool]) -> Asked:
    """A run, if any index wants one by `wants`, and none is under way or has just failed."""
    wanting, reasons = {}, []
    for model in project.settings.spaces:
        try:
            due = compaction_due(project.store, project.settings, model, project.identity(model))
        except EmbeddingsError as error:
            reasons.append(f"{model}: {type(error).__name__}: {error}")
            continue
        if due.pinned:
            reasons.append(f"{model}: pinned at generation {due.generation} by a rollback")
        elif wants(due):
            wanting[model] = due.mark
    if not wanting:
        return dg.SkipReason("; ".join(reasons) or "no index wants a compaction now")
    state = _digest(wanting)
    asked = {tags.COMPACTION: "true", tags.STATE: state}
    attempt = next_attempt(instance, project.settings.dagster, {tags.COMPACTION: "true"}, asked)
    if attempt is None:
        return dg.SkipReason("; ".join([*reasons, "a compaction is under way, or has failed and rests"]))
    return dg.RunRequest(run_key=f"compaction:{state}:{attempt}", tags=asked)


def _digest(marks: Mapping[str, str]) -> str:
    """A short text that differs when the generation of any of the indexes does."""
    text = "\n".join(f"{model} {mark}" for model, mark in sorted(marks.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
