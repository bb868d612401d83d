"""`<model>_index`: kept in step with the embeddings, at the cost of what changed.

A refresh resolves all batches once, reads the keys of those that changed, picks the winner of each image they touch,
writes new rows as one segment, or as several where they are very many, and commits one generation. When nothing changed
it writes nothing.
"""

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.errors import CommitConflict, CorruptFile, CountsDoNotReconcile
from embeddings_dagster.index import (
    GenerationManifest,
    Generations,
    SegmentEntry,
)
from embeddings_dagster.stages.account import now
from embeddings_dagster.stages.calibration import with_calibration
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.identities import identity as identity_of
from embeddings_dagster.stages.index_inputs import Inputs, resolve_inputs, take_generation, take_offers
from embeddings_dagster.stages.index_plan import BatchChanges, compare_batches
from embeddings_dagster.stages.index_state import IndexState, Settled, index_state, state_file
from embeddings_dagster.stages.index_writing import IndexWriting
from embeddings_dagster.stages.models import register
from embeddings_dagster.stages.opened import model_settings
from embeddings_dagster.stages.refreshing import refreshed, take_in
from embeddings_dagster.stages.statistics import Statistics, require_handed_over, without_zeros


@dataclass(frozen=True)
class IndexReport:
    """What a refresh did. `generation` is the newest now (None: there is nothing to index yet). `statistics` are of the
    rows that all batches offer."""

    model: str
    fingerprint: str
    generation: int | None
    changed: bool
    pinned: bool
    rows: int
    segments: int
    statistics: Statistics
    inserted: int = 0
    updated: int = 0
    removed: int = 0
    batches_read: int = 0
    bytes_written: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


def refresh_index(context: StageContext, name: str, identity: ModelIdentity | None = None) -> IndexReport:
    """Bring the index of a model's settings to the state of its embeddings; a pinned index is left as it is. With
    `force`, every row is planned anew, though nothing seems to have changed.

    `identity` is that of the settings' model, where the caller has it already.

    Raises:
        UnknownItem: no such model in the settings.
        Stopped: a stop was asked for; the index is as it was.
        CommitConflict: other writers won every race.
        CorruptFile: a part of the embeddings, or a segment that had to be read, is damaged.
        CountsDoNotReconcile: a row that a batch offers is neither placed nor superseded; the index is as it was.
    """
    settings = model_settings(context.settings, name)
    identity = identity or identity_of(context.store, name, settings)
    generations = Generations(context.store, name, identity.fp12)
    path = state_file(context.store.cache, name, identity.fp12)

    def attempt() -> IndexReport:
        report = _Refresh(context, generations, identity).run(path)
        if report.generation is not None:
            model = with_calibration(context.store, name, settings)
            register(context.store, name, identity, model, run_id=context.run_id)
        return report

    return refreshed(context, generations.folder, path, attempt)


class _Refresh:
    """One attempt: plan, write, commit."""

    def __init__(self, context: StageContext, generations: Generations, identity: ModelIdentity) -> None:
        self._context, self._generations, self._identity = context, generations, identity
        self._store = context.store
        self._started = time.monotonic()
        self._writing = IndexWriting(context, generations, identity)

    def run(self, path: Path) -> IndexReport:
        base = self._generations.latest()
        if base is not None and base.pinned:
            self._context.log(
                f"the index of {self._generations.model} is pinned at generation {base.version}; refreshes wait for "
                "`embeddings index rollback --release`"
            )
            return self._report(base, _waiting(base, self._generations.model))
        consumed = base.consumed if base else {}
        inputs = resolve_inputs(self._store, dataset(self._generations.model, self._identity), consumed)
        for fault in inputs.faults.values():
            self._context.log(f"{self._generations.model}_index keeps a batch as it was taken in: {fault}")
        changes = compare_batches(inputs.states, consumed)
        origin = self._origin(base)
        rows = base.rows if base else 0
        if not changes and origin is base and not self._context.force:
            return self._report(base, inputs.statistics("rows", rows, inputs.offered - rows, Settled()))
        with index_state(path) as state:
            if self._context.force:
                state.clear()
            read = self._take_in(state, base, origin, inputs, changes)
            settled = state.settle(inputs.newest())
            following = self._following(inputs, self._writing.write(state, origin, inputs, settled))
            counted = self._counted(state, inputs, settled, origin, following)
            manifest = self._commit(base, following)
            state.mark(manifest.self_sha256)
        return self._report(manifest, counted, settled, batches_read=read)

    def _origin(self, base: GenerationManifest | None) -> GenerationManifest | None:
        """The generation to begin from: `base`, or where it is to be healed and is damaged, that without what is."""
        if base is None or not self._context.heal:
            return base
        sound = tuple(segment for segment in base.segments if self._is_sound(segment))
        return base if len(sound) == len(base.segments) else replace(base, segments=sound)

    def _is_sound(self, segment: SegmentEntry) -> bool:
        try:
            for file, sha256 in segment.hashes().items():
                self._store.checked.check(self._generations.path(file), sha256, again=True)
        except CorruptFile as error:
            self._context.log(f"a segment of {segment.live:,} rows is made anew: {error}")
            return False
        return True

    def _take_in(
        self,
        state: IndexState,
        base: GenerationManifest | None,
        origin: GenerationManifest | None,
        inputs: Inputs,
        changes: BatchChanges,
    ) -> int:
        """Bring the state's offers up to date; returns how many batches were read."""

        def restore() -> None:
            assert origin is not None, "only a state that begins from a generation is restored"
            take_generation(self._generations, origin, state)

        if origin is not base:  # what is remembered of `base` has rows that are not there any more
            state.clear()
        mark = base.self_sha256 if base else None
        take = partial(take_offers, inputs, state=state)
        return take_in(self._context, state, inputs, changes, mark=mark, restore=restore, take=take)

    def _counted(
        self,
        state: IndexState,
        inputs: Inputs,
        settled: Settled,
        origin: GenerationManifest | None,
        following: GenerationManifest,
    ) -> Statistics:
        """The statistics of what is about to be committed; what is written is taken back where they do not add up."""
        try:
            expected = (origin.rows if origin else 0) + settled.inserted - settled.removed
            require_handed_over(inputs.stage, "", "rows", expected, following.rows)
            return inputs.statistics("rows", following.rows, state.superseded(), settled)
        except CountsDoNotReconcile:
            self._writing.take_back()
            raise

    def _following(self, inputs: Inputs, segments: tuple[SegmentEntry, ...]) -> GenerationManifest:
        return GenerationManifest(
            version=0,
            previous=None,
            created_at=now(),
            run_id=self._context.run_id,
            fingerprint=self._identity.fingerprint,
            dimension=self._identity.dimension,
            segments=segments,
            consumed=inputs.states,
        )

    def _commit(self, base: GenerationManifest | None, following: GenerationManifest) -> GenerationManifest:
        try:
            return self._generations.commit(base, following)
        except CommitConflict:  # after any other error the commit may stand all the same, and needs its files
            self._writing.take_back()
            raise

    def _report(
        self,
        manifest: GenerationManifest | None,
        counted: Statistics,
        settled: Settled | None = None,
        batches_read: int = 0,
    ) -> IndexReport:
        seconds = round(time.monotonic() - self._started, 3)
        done = settled or Settled()
        return IndexReport(
            model=self._generations.model,
            fingerprint=self._identity.fingerprint,
            generation=manifest.version if manifest else None,
            changed=settled is not None,
            pinned=manifest is not None and manifest.pinned,
            rows=manifest.rows if manifest else 0,
            segments=len(manifest.segments) if manifest else 0,
            statistics=replace(counted, seconds=seconds),
            inserted=done.inserted,
            updated=done.updated,
            removed=done.removed,
            batches_read=batches_read,
            bytes_written=self._writing.bytes,
            seconds=seconds,
        )


def _waiting(pinned: GenerationManifest, model: str) -> Statistics:
    """Of an index that was rolled back on purpose: it stays as it is."""
    rows = pinned.rows
    return Statistics(stage=f"{model}_index", where="", unit="rows", total=rows, processed=0, skipped=rows, failed=0,
                      reasons=without_zeros(pinned=rows))  # fmt: skip
