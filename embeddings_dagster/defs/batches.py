"""One asset, one batch or many: the loop that every partitioned asset runs.

Batches are done one after the other and each commits by itself. One that fails is named when all have had their turn,
so it costs the others nothing. Only what may heal by itself is tried again.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.storage.dagster_run import assets_are_externally_managed

from embeddings_dagster.defs.config import StageConfig
from embeddings_dagster.defs.metadata import Metadata, account_metadata
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.signals import stop_on_signals
from embeddings_dagster.errors import LASTING, CommitConflict, EncodeFailed, ItemError, Stopped, told
from embeddings_dagster.settings import DagsterSettings
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.store.steps import reached

DATA_VERSION = "dagster/data_version"
FAILED_BATCHES = "failed_batches"


@dataclass(frozen=True)
class Done:
    """What one batch's stage did, and what else to show of it."""

    account: Account
    shown: Metadata = field(default_factory=dict)

    @property
    def metadata(self) -> Metadata:
        return {**account_metadata(self.account), **self.shown}


Work = Callable[[StageContext, str], Done]
Event = dg.AssetMaterialization | dg.MaterializeResult[object]


def each_batch(context: dg.AssetExecutionContext, project: Project, config: StageConfig, work: Work) -> Iterator[Event]:
    """Do the partitions of this run, each by `work(stage context, key)`, and report them to Dagster.

    Raises:
        DagsterExecutionInterruptedError: told to stop; what was whole is committed.
        Failure: some batches failed, and will not heal by trying again.
        RetryRequested: some batches failed, and may heal.
    """
    keys = list(context.partition_keys)
    reports_itself = assets_are_externally_managed(context.run)
    failed: dict[str, Exception] = {}
    versions = []
    for key in keys:
        done = _attempt(context, project, config, work, key, failed)
        if done is None:
            continue
        versions.append(done.account.content)
        if reports_itself:
            yield dg.AssetMaterialization(
                context.asset_key, partition=key, metadata=done.metadata, tags={DATA_VERSION: done.account.content}
            )
        else:
            context.add_asset_metadata(done.metadata, partition_key=key)
    if failed and (not reports_itself or may_retry(context, project.settings.dagster, failed)):
        raise failure_of(context, project.settings.dagster, failed)
    yield dg.MaterializeResult(data_version=dg.DataVersion(versions[0]) if len(versions) == 1 == len(keys) else None)
    if failed:
        raise failure_of(context, project.settings.dagster, failed)


def _attempt(
    context: dg.AssetExecutionContext,
    project: Project,
    config: StageConfig,
    work: Work,
    key: str,
    failed: dict[str, Exception],
) -> Done | None:
    try:
        with stop_on_signals() as stop:
            log = project.watch.log or context.log.info
            done = work(
                project.stage_context(
                    context.run.run_id,
                    log,
                    stop,
                    retry_failed=config.retry_failed,
                    force=config.force,
                    heal=config.heal,
                    download=config.download,
                ),
                key,
            )
    except Stopped as stopped:
        raise dg.DagsterExecutionInterruptedError(str(stopped)) from None
    except Exception as error:  # whatever it is: it is this batch's, and named when the others are done
        failed[key] = error
        context.log.error(f"{key}: {describe(error)}", exc_info=not heals(error) and len(context.partition_keys) > 1)
        return None
    reached("batch:done")
    if project.watch.account is not None:
        project.watch.account(done.account)
    return done


def heals(error: Exception) -> bool:
    """Whether the same work may succeed later without anybody changing anything."""
    if isinstance(error, ItemError):
        return error.retryable
    if isinstance(error, OSError):
        return error.errno not in LASTING
    return isinstance(error, CommitConflict | EncodeFailed)


def describe(error: Exception) -> str:
    return f"{type(error).__name__}: {told(error) or error}"


def may_retry(context: dg.AssetExecutionContext, settings: DagsterSettings, failed: Mapping[str, Exception]) -> bool:
    """Whether something of it may heal, and was not tried often enough."""
    return context.retry_number < settings.max_retries and any(map(heals, failed.values()))


def failure_of(
    context: dg.AssetExecutionContext, settings: DagsterSettings, failed: Mapping[str, Exception]
) -> Exception:
    """What a step raises for what failed in it, by name.

    A request to be tried again where that may help, and never an op's `retry_policy`: with one of those, Dagster takes
    a stop signal for a reason to try again.
    """
    first = next(iter(failed.values()))
    total = len(context.partition_keys) if context.has_partition_key or context.has_partition_key_range else 1
    lines = [describe(first)] if total == 1 else [f"{key}: {describe(error)}" for key, error in failed.items()]
    if total > 1:
        lines.insert(0, f"{len(failed)} of {total} batches failed; the others are committed and need nothing:")
    failure: Exception
    if may_retry(context, settings, failed):
        wait = retry_policy(settings).calculate_delay(context.retry_number + 1)
        context.log.warning("\n".join([*lines, f"trying again in {wait:.0f} seconds"]))
        failure = dg.RetryRequested(max_retries=settings.max_retries, seconds_to_wait=wait)
    else:
        shown = {FAILED_BATCHES: dg.MetadataValue.json(sorted(failed))}
        failure = dg.Failure("\n".join(lines), metadata=shown, allow_retries=False)
    failure.__cause__ = first
    return failure


def retry_policy(settings: DagsterSettings) -> dg.RetryPolicy:
    """How often, and after how long: longer each time."""
    return dg.RetryPolicy(
        max_retries=settings.max_retries,
        delay=settings.retry_seconds,
        backoff=dg.Backoff.EXPONENTIAL,
        jitter=dg.Jitter.PLUS_MINUS,
    )
