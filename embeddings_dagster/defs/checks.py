"""Asset checks: what the assets promise, looked at again from outside.

A check of a batch runs with that batch's partition; asked alone, it looks at every batch. Two are blocking: no index
takes in unsound vectors within the same run, and nothing goes on from an index that finds less than it promises.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import dagster as dg

from embeddings_dagster import ids
from embeddings_dagster.defs import findings
from embeddings_dagster.defs.findings import Finding
from embeddings_dagster.defs.metadata import plain_metadata
from embeddings_dagster.defs.models import embeddings_name, index_name
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.index_checks import CheckResult, index_consumed_is_current, index_rows_equal_live_rows
from embeddings_dagster.stages.recall import index_recall_meets_target
from embeddings_dagster.store import Store

Look = Callable[[str], Finding]


def all_checks(project: Project) -> Sequence[dg.AssetChecksDefinition]:
    """The checks of every asset."""
    return [
        *image_checks(project),
        *(check for model in project.settings.spaces for check in embeddings_checks(project, model)),
        *(check for model in project.settings.spaces for check in index_checks(project, model)),
    ]


def image_checks(project: Project) -> Iterator[dg.AssetChecksDefinition]:
    """Counts of both, and pixels."""

    def raw(batch: str) -> Finding:
        upstream = findings.live_images(project.store, ids.source_of(batch), batch)
        return findings.counts_reconcile(project.store, "raw_images", batch, upstream)

    def rgb(batch: str) -> Finding:
        return findings.counts_reconcile(project.store, "rgb_images", batch, findings.regions_of(project.store, batch))

    def pixels(batch: str) -> Finding:
        return findings.pictures_are_rgb(project.store, batch)

    counts = "Every input is a row or a failure: total = processed + skipped + failed, counted anew."
    yield _batch_check(project, "raw_images", "counts_reconcile", counts, raw)
    yield _batch_check(project, "rgb_images", "counts_reconcile", counts, rgb)
    only = f"Up to {findings.PICTURES_OPENED} pictures, evenly spread over the batch, open as RGB with plain Pillow."
    yield _batch_check(project, "rgb_images", "rgb_only", only, pixels)


def embeddings_checks(project: Project, model: str) -> Iterator[dg.AssetChecksDefinition]:
    """Counts, and vectors."""

    def counts(batch: str) -> Finding:
        identity = project.identity(model)
        upstream = findings.vectors_offered(project.store, batch, identity)
        return findings.counts_reconcile(project.store, dataset(model, identity), batch, upstream)

    def vectors(batch: str) -> Finding:
        return findings.vectors_are_sound(project.store, model, project.identity(model), batch)

    asset = embeddings_name(model)
    yield _batch_check(
        project, asset, "counts_reconcile", "Every region, or every text, is a vector or a failure.", counts
    )
    sound = "Every vector has the model's dimension, is finite, and has the norm that the model's convention says."
    yield _batch_check(project, asset, "vectors_sound", sound, vectors, blocking=True)


def index_checks(project: Project, model: str) -> Iterator[dg.AssetChecksDefinition]:
    """Rows, what was consumed, and recall. An index that was rolled back on purpose only warns of the first two."""
    rows, consumed = "The index holds the newest row of every region.", "The index has taken in every batch as it is."
    yield _index_check(project, model, "rows_equal_live_rows", rows, index_rows_equal_live_rows)
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
        found = {batch: look(batch) for batch in _batches(context, project)}
        wrong = {batch: str(each) for batch, each in found.items() if not each.passed}
        return dg.AssetCheckResult(
            passed=not wrong,
            description="\n".join(wrong.values()) or f"{len(found)} batches, nothing wrong",
            metadata={
                "batches": len(found),
                "looked_at": sum(each.looked_at for each in found.values()),
                "wrong_batches": dg.MetadataValue.json(sorted(wrong)),
            },
        )

    return check


def _batches(context: dg.AssetCheckExecutionContext, project: Project) -> Sequence[str]:
    run = context.op_execution_context
    if run.has_partition_key or run.has_partition_key_range:
        return list(run.partition_keys)
    return project.store.batches("raw_images")


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
            severity=dg.AssetCheckSeverity.WARN if found.pinned else dg.AssetCheckSeverity.ERROR,
            metadata=plain_metadata(found.detail),
        )

    return check
