"""The states that a preview is decided from: what a survey of the sources found, and what the store holds.

A batch that is current and has no failures is not read: its manifests say all there is to say.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from embeddings_dagster import ids
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.ids import Key
from embeddings_dagster.images import recipe
from embeddings_dagster.stages import raw, rgb
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import Survey
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.fields import fields_of
from embeddings_dagster.stages.opened import decode_rules
from embeddings_dagster.stages.preview import BatchState, StagePreview, State, preview_batch
from embeddings_dagster.stages.status import BatchStatus, batch_statuses
from embeddings_dagster.stages.vector_inputs import rgb_rows, wanted_vectors
from embeddings_dagster.store import Chain, Store


@dataclass(frozen=True)
class BatchPreview:
    """One batch: its images as discovery would leave it, and each stage."""

    source: str
    batch: str
    images: int
    stages: tuple[StagePreview, ...]

    @property
    def todo(self) -> bool:
        return any(stage.todo or stage.gone for stage in self.stages)


def preview_source(
    context: StageContext, identities: Mapping[str, ModelIdentity], source: str, survey: Survey
) -> Iterator[BatchPreview]:
    """Every batch of a source, new ones included, in the order of their keys."""
    store = context.store
    statuses = {each.batch: each for each in batch_statuses(store, context.settings, identities, source)}
    ledger = store.ledger(source)
    for batch in sorted(statuses.keys() | survey.plan.batches.keys()):
        status = statuses.get(batch)
        if status and batch not in survey.plan.batches and _settled(status) and not context.force:
            stages = [StagePreview(each.stage, 0, 0, 0, each.rows, 0, 0) for each in status.stages]
            yield BatchPreview(source, batch, status.images, tuple(stages))
            continue
        table = survey.plan.batches.get(batch)
        if table is None:
            table = ledger.rows(survey.base, batch) if survey.base else pa.table({})
        state = _read(context, identities, source, batch, table)
        stages = preview_batch(state, retry_failed=context.retry_failed, force=context.force)
        yield BatchPreview(source, batch, len(state.ledger), tuple(stages))


def _settled(status: BatchStatus) -> bool:
    return status.current and not any(stage.failed for stage in status.stages)


def _read(
    context: StageContext, identities: Mapping[str, ModelIdentity], source: str, batch: str, table: pa.Table
) -> BatchState:
    store = context.store
    live = [row for row in table.to_pylist() if not row["removed_at"]]
    fields = fields_of(context.settings, source)
    return BatchState(
        batch=batch,
        ledger={
            Key(ids.image_id(source, row["local_id"], row["ordinal"]), 0): raw.input_hash(row, fields) for row in live
        },
        raw=_state(store.chain("raw_images", batch)),
        rgb=_state(store.chain("rgb_images", batch)),
        converted=_converted(context, store, batch),
        models={name: _state(store.chain(dataset(name, identity), batch)) for name, identity in identities.items()},
        vectors={name: _vectors(store, batch, each) for name, each in identities.items() if each.inputs != "regions"},
    )


def _vectors(store: Store, batch: str, identity: ModelIdentity) -> Mapping[Key, str]:
    """What a model would make of the rows that `rgb_images` has now."""
    chain = store.chain("rgb_images", batch)
    manifest = chain.head()
    return wanted_vectors(identity.inputs, rgb_rows(chain, manifest, identity.inputs)) if manifest else {}


def _converted(context: StageContext, store: Store, batch: str) -> Mapping[Key, str]:
    chain = store.chain("raw_images", batch)
    manifest = chain.head()
    if manifest is None:
        return {}
    rows = chain.rows(manifest, ("image_id", "sha256", "regions")).to_pylist()
    return rgb.wanted(rows, recipe(decode_rules(context.settings)))


def _state(chain: Chain) -> State:
    """What a run would go on from: the highest version, complete or not."""
    manifest = chain.head()
    if manifest is None:
        return State()
    columns = ("image_id", "input_hash") if chain.dataset == "raw_images" else ("image_id", "input_hash", "region")
    rows = chain.rows(manifest, columns).to_pylist()
    return State(
        present={Key(row["image_id"], row.get("region", 0)): row["input_hash"] for row in rows},
        failures={Key(each.image_id, each.region): each for each in chain.failures(manifest)},
    )
