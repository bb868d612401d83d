"""Sensors, running from the start: one follows the sources, one keeps the indexes up with the embeddings.

A tick compares states in the store (see `behind.py`), asks for what is missing (see `asking.py`), and is bounded: so
many manifests opened, so many runs asked for. Its cursor is only where the next tick goes on looking; losing it loses
nothing.
"""

import hashlib
from collections.abc import Mapping, Sequence

import dagster as dg

from embeddings_dagster.defs import lifecycle, tags
from embeddings_dagster.defs.asking import failed_batches, next_attempt, request_for_batch
from embeddings_dagster.defs.behind import is_emptied, ledger_batches, raw_is_behind, window
from embeddings_dagster.defs.jobs import EMBED_BATCHES, REFRESH_INDEXES
from embeddings_dagster.defs.looking import look
from embeddings_dagster.defs.models import index_name
from embeddings_dagster.defs.partitions import CHUNK, checked_keys, image_batches, known_keys
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.errors import EmbeddingsError, ModelError
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.index_checks import index_consumed_is_current
from embeddings_dagster.stages.index_inputs import resolve_inputs
from embeddings_dagster.store import LedgerBatch

FOLLOW_SOURCES = "follow_sources"
FOLLOW_EMBEDDINGS = "follow_embeddings"


def all_sensors(project: Project) -> Sequence[dg.SensorDefinition]:
    return [follow_sources(project), follow_embeddings(project)]


def follow_sources(project: Project) -> dg.SensorDefinition:
    """Finds new, changed and removed batches, and asks for exactly those."""
    settings = project.settings.dagster

    @dg.sensor(
        name=FOLLOW_SOURCES,
        job_name=EMBED_BATCHES,
        description="Looks at every source; adds partitions for new batches, and asks for a run of each batch that is "
        "new, changed or removed. A batch whose run failed is asked for again, later each time.",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        housekeeping(context.instance, project)
        looked = look(project, f"sensor:{FOLLOW_SOURCES}", context.log.info, sources=project.settings.sources)
        batches = ledger_batches(project.store, project.settings.sources)
        keys, cursor = window(batches, context.cursor or "")
        known = known_keys(context.instance)
        add, drop = changed_keys(project, batches, keys, known)
        requests = _requests(context.instance, project, batches, keys, (known | set(add)) - set(drop))
        changes: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
        changes += [image_batches.build_add_request(add)] if add else []
        changes += [image_batches.build_delete_request(drop)] if drop else []
        reason = "; ".join(looked.problems.values()) or f"{len(batches)} batches, none wants a run now"
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(reason),
            dynamic_partitions_requests=changes,
            cursor=cursor,
        )

    return tick


def housekeeping(instance: dg.DagsterInstance, project: Project) -> None:
    """Pools have their limits, and no dead run keeps a slot: else the run queue would wait for it."""
    lifecycle.set_pool_limits(instance, project.pool_limits())
    lifecycle.bury(instance)


def changed_keys(
    project: Project, batches: Mapping[str, LedgerBatch], keys: Sequence[str], known: set[str]
) -> tuple[list[str], list[str]]:
    """Partition keys to add, at most a chunk, and to drop: those of removed batches that are empty down the line."""
    removed = [key for key in keys if not batches[key].live]
    add = [key for key, entry in batches.items() if entry.live and key not in known]
    add += [key for key in removed if key not in known and raw_is_behind(project.store, key, batches[key])]
    drop = [key for key in removed if key in known and not raw_is_behind(project.store, key, batches[key])]
    if drop:
        try:
            identities = project.identities()
        except ModelError:  # whether that model's index still holds rows of it is not known
            drop = []
        else:
            drop = [key for key in drop if is_emptied(project.store, key, identities)]
    return checked_keys(add)[:CHUNK], drop


def _requests(
    instance: dg.DagsterInstance,
    project: Project,
    batches: Mapping[str, LedgerBatch],
    keys: Sequence[str],
    known: set[str],
) -> list[dg.RunRequest]:
    settings = project.settings.dagster
    behind = (key for key in keys if raw_is_behind(project.store, key, batches[key]))
    failed = failed_batches(instance, EMBED_BATCHES, batches)
    requests: dict[str, dg.RunRequest] = {}
    for key in (*failed, *behind):
        if len(requests) >= settings.sensor_batches:
            break
        if key in known and key not in requests:
            request = request_for_batch(instance, settings, batches[key])
            if request is not None:
                requests[key] = request
    return list(requests.values())


def follow_embeddings(project: Project) -> dg.SensorDefinition:
    """Refreshes an index when there are embeddings it has not taken in."""
    settings = project.settings.dagster

    @dg.sensor(
        name=FOLLOW_EMBEDDINGS,
        job_name=REFRESH_INDEXES,
        description="Asks for a refresh of each index that lags behind its embeddings, one at a time for each. "
        "Batches that are missing or failed do not hold it up.",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        requests, reasons = index_requests(context.instance, project)
        reason = dg.SkipReason("; ".join(reasons) or "every index is current")
        return dg.SensorResult(run_requests=requests, skip_reason=None if requests else reason)

    return tick


def index_requests(instance: dg.DagsterInstance, project: Project) -> tuple[list[dg.RunRequest], list[str]]:
    """The refreshes to ask for now, and why others are not asked for."""
    requests, reasons = [], []
    for model in project.settings.models:
        try:
            request = _index_request(instance, project, model)
        except EmbeddingsError as error:
            reasons.append(f"{model}: {type(error).__name__}: {error}")
            continue
        if request is not None:
            requests.append(request)
    return requests, reasons


def _index_request(instance: dg.DagsterInstance, project: Project, model: str) -> dg.RunRequest | None:
    identity = project.identity(model)
    found = index_consumed_is_current(project.store, model, identity)
    if found.passed or found.pinned:
        return None
    state = _inputs_state(project, dataset(model, identity))
    asked = {tags.MODEL: model, tags.STATE: state}
    attempt = next_attempt(instance, project.settings.dagster, {tags.MODEL: model}, asked)
    if attempt is None:
        return None
    return dg.RunRequest(
        run_key=f"{model}:{state}:{attempt}", asset_selection=[dg.AssetKey(index_name(model))], tags=asked
    )


def _inputs_state(project: Project, place: str) -> str:
    states = resolve_inputs(project.store, place, {}).states
    text = "\n".join(f"{batch} {state}" for batch, state in sorted(states.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
