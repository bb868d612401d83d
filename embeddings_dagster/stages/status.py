"""What is there and whether it is current: every batch of every source, stage by stage.

Reads what manifests say, no rows, so it is quick at any size. Stale means that an input's content differs from the one
consumed, or that the settings now ask for other columns or pixels; folds and retried failures make nothing stale.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from embeddings_dagster import ids
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.images import recipe
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.fields import columns_asked
from embeddings_dagster.stages.opened import decode_rules
from embeddings_dagster.stages.statistics import Statistics, without_zeros
from embeddings_dagster.store import Head, Heads, LedgerBatch, Manifest, Store

CURRENT, STALE, MISSING, PARTIAL = "current", "stale", "missing", "partial"


@dataclass(frozen=True)
class StageStatus:
    """One stage of one batch. `state` is current, stale, missing, or partial (begun, not complete); `why` says more.
    `given`: how many inputs the stage before has for it, where manifests tell."""

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
    given: int | None = None

    @property
    def unit(self) -> str:
        """What its inputs are. How many texts there are only their rows tell."""
        if self.stage == "raw_images":
            return "images"
        return "regions" if self.stage == "rgb_images" or self.given is not None else "texts"


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
        """Whether each current stage has a row or a failure for each of its inputs, as far as manifests tell."""
        current = (stage for stage in self.stages if stage.state == CURRENT and stage.given is not None)
        return all(stage.rows + stage.failed == stage.given for stage in current)


def batch_statuses(
    store: Store, settings: Settings, identities: Mapping[str, ModelIdentity], source: str | None = None
) -> Iterator[BatchStatus]:
    """Every batch that a ledger knows, of one source or of all, in the order of their keys; not those that are empty
    and of which nothing was made, or all was forgotten.

    `identities`: the fingerprints that the settings ask for, by model name.
    """
    version = recipe(decode_rules(settings))
    places = ["raw_images", "rgb_images", *(dataset(model, identity) for model, identity in identities.items())]
    heads = {place: store.heads(place) for place in places}
    for name in store.sources() if source is None else [source]:
        ledger = store.ledger(name).latest()
        for key, entry in sorted((ledger.batches if ledger else {}).items()):
            stages = tuple(_stages(heads, key, entry, columns_asked(settings, name), version, identities))
            if entry.live or any(stage.state != MISSING for stage in stages):
                yield BatchStatus(name, key, entry.live, stages)


def _stages(
    heads: Mapping[str, Heads],
    batch: str,
    entry: LedgerBatch,
    columns: str | None,
    version: str,
    identities: Mapping[str, ModelIdentity],
) -> Iterator[StageStatus]:
    source = ids.source_of(batch)
    raw = heads["raw_images"].get(batch)
    yield _stage("raw_images", "raw_images", raw, {f"sources/{source}": entry.source_state}, entry.live, columns)
    rgb = heads["rgb_images"].get(batch)
    yield _stage("rgb_images", "rgb_images", rgb, {f"raw_images/{batch}": _content(raw)}, None, version)
    for model, identity in identities.items():
        place = dataset(model, identity)
        made = heads[place].get(batch)
        given = None if identity.inputs == "texts" else rgb.counts.ok
        yield _stage(f"{model}_embeddings", place, made, {f"rgb_images/{batch}": _content(rgb)}, given)


def _content(head: Head) -> str | None:
    return head.content if head.version else None


def _stage(
    stage: str,
    place: str,
    head: Head,
    inputs: Mapping[str, str | None],
    given: int | None,
    recipe_now: str | None = None,
) -> StageStatus:
    if head.fault:
        return StageStatus(stage, place, STALE, head.fault, given=given)
    if not head.version:
        state, why = (PARTIAL, "begun, not complete") if head.begun else (MISSING, "never made")
        return StageStatus(stage, place, state, why, given=given)
    why = stale_reason(head, inputs, recipe_now)
    state = (PARTIAL if head.begun else STALE) if why else CURRENT
    return StageStatus(
        stage,
        place,
        state,
        why,
        head.version,
        head.counts.ok,
        head.counts.failed,
        head.bytes,
        head.created_at,
        head.run_id,
        given,
    )


def stale_reason(manifest: Manifest | Head, inputs: Mapping[str, str | None], recipe_now: str | None = None) -> str:
    """Why a version is stale, in words; empty when it is current. `inputs`: what each input's content is now."""
    for name, content in inputs.items():
        consumed = manifest.inputs.get(name, {})
        if content is None:
            return f"{name} is missing"
        if consumed.get("content") != content:
            return f"{name} changed since its version {consumed.get('version', '?')}"
    if recipe_now is not None and (manifest.recipe or "") != recipe_now:
        return "the settings ask for other columns or other pixels (fields, rgb.background, or a newer decoder)"
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


def statistics_of(source: str, batches: list[BatchStatus]) -> list[Statistics]:
    """The statistics of a source as a run would give them that finds nothing to do: each stage over its batches."""
    units = {stage.stage: stage.unit for batch in batches for stage in batch.stages}
    return [
        Statistics(
            stage=total.stage,
            where=source,
            unit=units[total.stage],
            total=total.rows + total.failed,
            processed=0,
            skipped=total.rows,
            failed=total.failed,
            reasons=without_zeros(there=total.rows, recorded_failures=total.failed),
        )
        for total in totals(batches)
    ]
