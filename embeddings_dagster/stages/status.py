"""What is there and whether it is current: every batch of every source, stage by stage.

Reads manifests alone, no rows, so it is quick at any size. Stale means that an input's content differs from the one
consumed, or that the settings now ask for other pixels; folds and retried failures make nothing stale.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from embeddings_dagster import ids
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.images import recipe
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.opened import decode_rules
from embeddings_dagster.store import LedgerBatch, Manifest, Store

CURRENT, STALE, MISSING, PARTIAL = "current", "stale", "missing", "partial"


@dataclass(frozen=True)
class StageStatus:
    """One stage of one batch. `state` is current, stale, missing, or partial (begun, not complete); `why` says more."""

    stage: str
    dataset: str
    state: str
    why: str = ""
    version: int = 0
    rows: int = 0
    failed: int = 0
    bytes: int = 0
    committed: datetime | None = None
    run_id: str = ""


@dataclass(frozen=True)
class BatchStatus:
    """One batch: its live images by the ledger, and each stage."""

    source: str
    batch: str
    images: int
    stages: tuple[StageStatus, ...]

    @property
    def current(self) -> bool:
        return all(stage.state == CURRENT for stage in self.stages)

    @property
    def reconciles(self) -> bool:
        """Whether a current `raw_images` has a row or a failure for each image of the ledger."""
        raw = self.stages[0]
        return raw.state != CURRENT or raw.rows + raw.failed == self.images


def batch_statuses(
    store: Store, settings: Settings, identities: Mapping[str, ModelIdentity], source: str | None = None
) -> Iterator[BatchStatus]:
    """Every batch that a ledger knows, of one source or of all, in the order of their keys.

    `identities`: the fingerprints that the settings ask for, by model name.
    """
    version = recipe(decode_rules(settings))
    for name in store.sources() if source is None else [source]:
        ledger = store.ledger(name).latest()
        for key, entry in sorted((ledger.batches if ledger else {}).items()):
            yield BatchStatus(name, key, entry.live, tuple(_stages(store, key, entry, version, identities)))


def _stages(
    store: Store, batch: str, entry: LedgerBatch, version: str, identities: Mapping[str, ModelIdentity]
) -> Iterator[StageStatus]:
    source = ids.source_of(batch)
    raw = store.chain("raw_images", batch).latest()
    yield _stage(store, "raw_images", "raw_images", batch, raw, {f"sources/{source}": entry.source_state})
    rgb = store.chain("rgb_images", batch).latest()
    consumed = {f"raw_images/{batch}": raw.content if raw else None}
    yield _stage(store, "rgb_images", "rgb_images", batch, rgb, consumed, version)
    for model, identity in identities.items():
        place = dataset(model, identity)
        made = store.chain(place, batch).latest()
        consumed = {f"rgb_images/{batch}": rgb.content if rgb else None}
        yield _stage(store, f"{model}_embeddings", place, batch, made, consumed)


def _stage(
    store: Store,
    stage: str,
    place: str,
    batch: str,
    manifest: Manifest | None,
    inputs: Mapping[str, str | None],
    recipe_now: str | None = None,
) -> StageStatus:
    head = store.chain(place, batch).head()
    begun = head is not None and not head.complete
    if manifest is None:
        return StageStatus(
            stage, place, PARTIAL if begun else MISSING, "begun, not complete" if begun else "never made"
        )
    why = stale_reason(manifest, inputs, recipe_now)
    state = (PARTIAL if begun else STALE) if why else CURRENT
    return StageStatus(
        stage,
        place,
        state,
        why,
        manifest.version,
        manifest.counts.ok,
        manifest.counts.failed,
        sum(part.bytes for part in manifest.parts),
        manifest.created_at,
        manifest.run_id,
    )


def stale_reason(manifest: Manifest, inputs: Mapping[str, str | None], recipe_now: str | None = None) -> str:
    """Why a version is stale, in words; empty when it is current. `inputs`: what each input's content is now."""
    for name, content in inputs.items():
        consumed = manifest.inputs.get(name, {})
        if content is None:
            return f"{name} is missing"
        if consumed.get("content") != content:
            return f"{name} changed since its version {consumed.get('version', '?')}"
    if recipe_now is not None and manifest.recipe != recipe_now:
        return "the settings ask for other pixels (rgb.background, or a newer decoder)"
    return ""


@dataclass(frozen=True)
class StageTotal:
    """One stage summed over the batches of a source."""

    stage: str
    rows: int
    failed: int
    bytes: int
    states: Mapping[str, int]


def totals(batches: list[BatchStatus]) -> list[StageTotal]:
    """The stages of some batches summed, in the order of the graph."""
    order = dict.fromkeys(stage.stage for batch in batches for stage in batch.stages)
    found = []
    for name in order:
        stages = [stage for batch in batches for stage in batch.stages if stage.stage == name]
        states = {state: sum(stage.state == state for stage in stages) for state in (CURRENT, STALE, MISSING, PARTIAL)}
        found.append(
            StageTotal(
                name,
                sum(stage.rows for stage in stages),
                sum(stage.failed for stage in stages),
                sum(stage.bytes for stage in stages),
                {state: count for state, count in states.items() if count},
            )
        )
    return found
