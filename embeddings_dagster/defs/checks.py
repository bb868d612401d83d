"""Asset checks: what the assets promise, looked at again from outside.

A check of a batch runs with that batch's partition; asked alone, it looks at every batch. Blocking are those of counts
and of vectors: no index takes in, within the same run, what lost count or is unsound. So are those that an index or the
catalogue holds the live rows, and that searches find what is promised: a run of which one fails has failed.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import dagster as dg

from embeddings_dagster import ids
from embeddings_dagster.defs import findings
from embeddings_dagster.defs.blocked import UNREADABLE
from embeddings_dagster.defs.findings import Finding, Said
from embeddings_dagster.defs.metadata import plain_metadata
from embeddings_dagster.defs.models import embeddings_name, index_name
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.errors import EmbeddingsError
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.index_checks import CheckResult, index_consumed_is_current, index_rows_equal_live_rows
from embeddings_dagster.stages.recall import index_recall_meets_target
from embeddings_dagster.store import Store

Look = Callable[[str, Said | None], Finding]

COUNTS = "counts_reconcile"
COUNTED = "counted anew, and held against what the run said."
MEND = "`embeddings run` makes what is missing, and with --force all of it anew; report it if it comes back"


def all_checks(project: Project) -> Sequence[dg.AssetChecksDefinition]:
    """The checks of every asset."""
    return [
        *image_checks(project),
        *(check for model in project.settings.spaces for check in embeddings_checks(project, model)),
        *(check for model in project.settings.spaces for check in index_checks(project, model)),
    ]


def image_checks(project: Project) -> Iterator[dg.AssetChecksDefinition]:
    """Counts of both, and pixels."""

    def raw(batch: str, said: Said | None) -> Finding:
        listed = findings.images_listed(project.store, ids.source_of(batch), batch)
        return findings.counts_reconcile(project.store, "raw_images", batch, listed, said)

    def rgb(batch: str, said: Said | None) -> Finding:
        described = findings.regions_described(project.store, batch)
        return findings.counts_reconcile(project.store, "rgb_images", batch, described, said)

    def pixels(batch: str, said: Said | None) -> Finding:
        return findings.pictures_are_rgb(project.store, batch)

    counts = f"Every input is a row or a failure, once: {COUNTED}"
    yield _batch_check(project, "raw_images", COUNTS, counts, raw, blocking=True)
    yield _batch_check(project, "rgb_images", COUNTS, counts, rgb, blocking=True)
    only = f"Up to {findings.PICTURES_OPENED} pictures, evenly spread over the batch, open as RGB with plain Pillow."
    yield _batch_check(project, "rgb_images", "rgb_only", only, pixels)


def embeddings_checks(project: Project, model: str) -> Iterator[dg.AssetChecksDefinition]:
    """Counts, and vectors."""

    def counts(batch: str, said: Said | None) -> Finding:
        identity = project.identity(model)
        offered = findings.vectors_offered(project.store, model, batch, identity)
        return findings.counts_reconcile(project.store, dataset(model, identity), batch, offered, said)

    def vectors(batch: str, said: Said | None) -> Finding:
        return findings.vectors_are_sound(project.store, model, project.identity(model), batch)

    asset = embeddings_name(model)
    counted = f"Every region, or every text, is a vector or a failure, once: {COUNTED}"
    yield _batch_check(project, asset, COUNTS, counted, counts, blocking=True)
    sound = "Every vector has the model's dimension, is finite, and has the norm that the model's convention says."
    yield _batch_check(project, asset, "vectors_sound", sound, vectors, blocking=True)


def index_checks(project: Project, model: str) -> Iterator[dg.AssetChecksDefinition]:
    """Rows, what was consumed, and recall. An index that was rolled back on purpose only warns of the first two."""
    rows, consumed = "The index holds the newest row of every region.", "The index has taken in every batch as it is."
    yield _index_check(project, model, "rows_equal_live_rows", rows, index_rows_equal_live_rows, blocking=True)
    yield _index_check(project, model, "consumed_is_current", consumed, index_consumed_is_current)
    target = project.settings.index.recall_target
    finds = f"Searches find on average at least {target} of the true ten best rows, in every segment and in all."
    yield _index_check(
        project, model, "recall", finds, partial(index_recall_meets_target, target=target), blocking=True
    )


def _batch_check(
    project: Project, asset: str, name: str, description: str, look: Look, *, blocking: bool = False
) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name=name,
        description=description,
        blocking=blocking,
        op_tags=project.settings.dagster.op_tags,
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        instance = context.op_execution_context.instance
        found = {batch: _looked(look, batch, said_last(instance, asset, batch)) for batch in _batches(context, project)}
        wrong = {batch: str(each) for batch, each in found.items() if not each.passed}
        bad = any(not each.passed and not each.missing for each in found.values())
        mend = [MEND] if bad and name == COUNTS else []
        return dg.AssetCheckResult(
            passed=not wrong,
            # What failed to be made is the asset's own to say, and holds up nothing else.
            severity=dg.AssetCheckSeverity.ERROR if bad else dg.AssetCheckSeverity.WARN,
            description="\n".join([*wrong.values(), *mend]) or f"{len(found)} batches, nothing wrong",
            metadata={
                "batches": len(found),
                "looked_at": sum(each.looked_at for each in found.values()),
                "wrong_batches": dg.MetadataValue.json(sorted(wrong)),
                UNREADABLE: dg.MetadataValue.json([batch for batch in sorted(wrong) if found[batch].unreadable]),
            },
        )

    return check


def _looked(look: Look, batch: str, said: Said | None) -> Finding:
    """A damaged file is a finding like any other: in a run of many batches the others go on."""
    try:
        return look(batch, said)
    except (EmbeddingsError, OSError) as error:
        return Finding(0, [f"{batch}: {type(error).__name__}: {error}"], unreadable=True)


def said_last(instance: dg.DagsterInstance, asset: str, batch: str) -> Said | None:
    """What the last materialisation of a batch said of it; None where there was none, or it said nothing."""
    asked = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[batch])
    for record in instance.fetch_materializations(asked, limit=1).records:
        event = record.asset_materialization
        told = {name: value.value for name, value in event.metadata.items()} if event else {}
        if {"version", "content", "processed", "skipped", "failed"} <= told.keys():
            version, processed, skipped, failed = (
                int(str(told[each])) for each in ("version", "processed", "skipped", "failed")
            )
            return Said(version, str(told["content"]), processed + skipped, failed)
    return None


def _batches(context: dg.AssetCheckExecutionContext, project: Project) -> Sequence[str]:
    run = context.op_execution_context
    if run.has_partition_key or run.has_partition_key_range:
        return list(run.partition_keys)
    return project.store.batches("raw_images")


def severity(found: CheckResult) -> dg.AssetCheckSeverity:
    """Rows that wait for a refresh, or for a rollback to be released, are not lost."""
    return dg.AssetCheckSeverity.WARN if found.pinned or found.behind else dg.AssetCheckSeverity.ERROR


def _index_check(
    project: Project,
    model: str,
    name: str,
    description: str,
    look: Callable[[Store, str, ModelIdentity], CheckResult],
    *,
    blocking: bool = False,
) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=index_name(model),
        name=name,
        description=description,
        blocking=blocking,
        op_tags=project.settings.dagster.op_tags,
    )
    def check() -> dg.AssetCheckResult:
        found = look(project.store, model, project.identity(model))
        return dg.AssetCheckResult(
            passed=found.passed,
            description=found.description,
            severity=severity(found),
            metadata=plain_metadata(found.detail),
        )

    return check
