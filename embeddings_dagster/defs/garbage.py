"""The job that takes away what nobody needs any more, and its schedule: once a week, by the bounds of the settings.

Fingerprints that the settings have no more are left to `embeddings gc --former-models`: that is for somebody to decide.
"""

import dagster as dg

from embeddings_dagster.defs import tags
from embeddings_dagster.defs.asking import next_attempt
from embeddings_dagster.defs.metadata import plain_metadata
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.signals import stop_on_signals
from embeddings_dagster.errors import EmbeddingsError, Stopped
from embeddings_dagster.stages.garbage import collect
from embeddings_dagster.stages.garbage_bounds import bounds_of

COLLECT_GARBAGE = "collect_garbage"
FAILED_SHOWN = 20


def garbage_job(project: Project) -> dg.JobDefinition:
    """One collection; it touches nothing that a run is at work on, so it needs no pool."""

    @dg.op(
        name="collect",
        description="Takes old versions, the files that only they need, and what killed processes left.",
        tags=project.settings.dagster.op_tags,
    )
    def collect_op(context: dg.OpExecutionContext) -> None:
        try:
            with stop_on_signals() as stop:
                stage = project.stage_context(context.run_id, context.log.info, stop)
                report = collect(stage.store, bounds_of(project.settings), log=stage.log, check_stop=stage.check_stop)
        except Stopped as stopped:
            raise dg.DagsterExecutionInterruptedError(str(stopped)) from None
        except (EmbeddingsError, OSError) as error:
            raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error
        kinds = {kind: f"{count:,} files, {size:,} bytes" for kind, (count, size) in report.by_kind().items()}
        left = {"left_alone": len(report.alone), "failed": len(report.failed)}
        context.add_output_metadata(
            plain_metadata({"files": len(report.taken), "bytes": report.bytes, **left, **kinds})
        )
        if report.failed:
            lines = [f"{each.place}: {each.why}" for each in report.failed[:FAILED_SHOWN]]
            more = f" ({len(report.failed):,} in all)" if len(report.failed) > FAILED_SHOWN else ""
            raise dg.Failure("could not be deleted" + more + ":\n" + "\n".join(lines), allow_retries=False)

    @dg.job(
        name=COLLECT_GARBAGE,
        description="Take away what no version that is kept needs, and what killed processes left behind.",
        tags={**tags.OURS, tags.GC: "true"},
    )
    def collect_garbage() -> None:
        collect_op()

    return collect_garbage


def garbage_schedule(project: Project) -> dg.ScheduleDefinition:
    """Asks once a week."""

    @dg.schedule(
        name=COLLECT_GARBAGE,
        job_name=COLLECT_GARBAGE,
        cron_schedule=project.settings.dagster.gc_cron,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Asks for a garbage collection, one at a time.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        asked = {tags.GC: "true"}
        if next_attempt(context.instance, project.settings.dagster, asked, {**asked, tags.STATE: "never"}) is None:
            return dg.SkipReason("a garbage collection is under way")
        return dg.RunRequest(tags=asked)

    return tick
