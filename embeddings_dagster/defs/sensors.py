"""Sensors, running from the start: one follows the sources, one keeps the indexes up with the embeddings.

A tick compares all that the ledgers have with all that the store has (see `behind.py`), asks for what is missing, the
oldest first (see `asking.py`), and is bounded: so many runs asked for, so many manifests opened, so long a look at a
source (see `looking.py`). It has no cursor: nothing depends on what an earlier tick saw.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import dagster as dg

from embeddings_dagster.defs import lifecycle, tags
from embeddings_dagster.defs.asking import failed_batches, next_attempt, requests_for_batches
from embeddings_dagster.defs.behind import MOST_OPENED, behind, emptied, in_order, ledger_batches, raw_heads
from embeddings_dagster.defs.catalog import catalog_request
from embeddings_dagster.defs.jobs import EMBED_BATCHES, REFRESH_INDEXES
from embeddings_dagster.defs.looking import Looked, Looker
from embeddings_dagster.defs.models import index_name
from embeddings_dagster.defs.partitions import CHUNK, checked_keys, chunks, image_batches, known_keys
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.errors import EmbeddingsError, ModelError
from embeddings_dagster.stages.catalog import ASSET
from embeddings_dagster.stages.index_checks import index_lag
from embeddings_dagster.stages.switching import switch_is_due
from embeddings_dagster.store import Heads, LedgerBatch

FOLLOW_SOURCES = "follow_sources"
FOLLOW_EMBEDDINGS = "follow_embeddings"
MOST_ADDED = 2 * CHUNK  # keys of one tick: the daemon looks each of them up, at two milliseconds
MOST_DROPPED = 500  # and these it drops one by one


def all_sensors(project: Project) -> Sequence[dg.SensorDefinition]:
    return [follow_sources(project), follow_embeddings(project)]


def follow_sources(project: Project) -> dg.SensorDefinition:
    """Finds new, changed and removed batches, and asks for exactly those."""
    settings = project.settings.dagster
    looker = Looker(project)

    @dg.sensor(
        name=FOLLOW_SOURCES,
        job_name=EMBED_BATCHES,
        description="Looks at every source; adds partitions for new batches, and asks for a run of each batch that is "
        "new, changed or removed, the oldest first. A batch whose run failed is asked for again, later each time.",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        housekeeping(context.instance, project)
        looked = looker.look(f"sensor:{FOLLOW_SOURCES}", context.log.info, project.settings.sources, full=False)
        current = [name for name in project.settings.sources if name not in looked.outdated]
        batches = ledger_batches(project.store, current)
        raw = raw_heads(project.store, batches, at_most=MOST_OPENED)
        known = known_keys(context.instance)
        add, gone = changed_keys(project, batches, raw, known)
        add, drop = add[:MOST_ADDED], gone[:MOST_DROPPED]
        wanting = behind(raw, batches) | failed_batches(context.instance, EMBED_BATCHES, batches)
        entries = [batches[key] for key in in_order(batches, (wanting & {*known, *add}) - {*gone})]
        requests = requests_for_batches(context.instance, settings, entries, settings.sensor_batches)
        changes: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
        changes += [image_batches.build_add_request(some) for some in chunks(add)]
        changes += [image_batches.build_delete_request(drop)] if drop else []
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(_said(looked, batches, raw)),
            dynamic_partitions_requests=changes,
        )

    return tick


def _said(looked: Looked, batches: Mapping[str, LedgerBatch], raw: Heads) -> str:
    """Why no run is asked for."""
    told = sum(len(found.problems) for found in looked.found.values())
    unopened = len(raw.unopened & batches.keys())
    later = [f"{unopened} batches will be compared in the next ticks"] if unopened else []
    reasons = [*looked.problems.values(), *later] or [f"{len(batches)} batches, none wants a run now"]
    return "; ".join([*reasons, *([f"problems in the sources: {told}, told in this tick's log"] if told else [])])


def housekeeping(instance: dg.DagsterInstance, project: Project) -> None:
    """Pools have their limits, and no dead run keeps a slot: else the run queue would wait for it."""
    lifecycle.set_pool_limits(instance, project.pool_limits())
    lifecycle.bury(instance)


def changed_keys(
    project: Project, batches: Mapping[str, LedgerBatch], raw: Heads, known: set[str]
) -> tuple[list[str], list[str]]:
    """Partition keys to add, the oldest first, and to drop: those of removed batches that are empty down the line.
    `raw`: what `raw_images` has of them."""
    stale = behind(raw, batches)
    add = [key for key, entry in batches.items() if key not in known and (entry.live or key in stale)]
    drop = [key for key, entry in batches.items() if key in known and not entry.live and key not in stale]
    drop = [key for key in drop if key not in raw.unopened]
    if drop:
        try:
            drop = emptied(project.store, drop, project.identities())
        except ModelError:  # whether that model's index still holds rows of it is not known
            drop = []
    return checked_keys(in_order(batches, add)), drop


def follow_embeddings(project: Project) -> dg.SensorDefinition:
    """Refreshes an index when there are embeddings it has not taken in."""
    settings = project.settings.dagster

    @dg.sensor(
        name=FOLLOW_EMBEDDINGS,
        job_name=REFRESH_INDEXES,
        description="Asks for a refresh of each index that lags behind its embeddings, and of the catalogue when it "
        "lags behind raw_images, one at a time for each. Batches that are missing or failed do not hold it up.",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        requests, reasons = index_requests(context.instance, project)
        reason = dg.SkipReason("; ".join(reasons) or "every index is current")
        return dg.SensorResult(run_requests=requests, skip_reason=None if requests else reason)

    return tick


def index_requests(instance: dg.DagsterInstance, project: Project) -> tuple[list[dg.RunRequest], list[str]]:
    """The refreshes of indexes and of the catalogue to ask for now, and why others are not asked for."""
    requests, reasons = [], []
    asking = {model: partial(_index_request, instance, project, model) for model in project.settings.spaces}
    for name, ask in {**asking, ASSET: partial(catalog_request, instance, project)}.items():
        try:
            request = ask()
        except EmbeddingsError as error:
            reasons.append(f"{name}: {type(error).__name__}: {error}")
            continue
        if request is not None:
            requests.append(request)
    return requests, reasons


def _index_request(instance: dg.DagsterInstance, project: Project, model: str) -> dg.RunRequest | None:
    identity = project.identity(model)
    lag = index_lag(project.store, model, identity)
    if lag.base is not None and lag.base.pinned:
        return None
    if not lag.stale and not switch_is_due(project.store, model, identity):
        return None
    state = lag.inputs.digest()
    asked = {tags.MODEL: model, tags.STATE: state}
    attempt = next_attempt(instance, project.settings.dagster, {tags.MODEL: model}, asked)
    if attempt is None:
        return None
    return dg.RunRequest(
        run_key=f"{model}:{state}:{attempt}", asset_selection=[dg.AssetKey(index_name(model))], tags=asked
    )
