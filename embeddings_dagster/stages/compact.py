"""Compaction: many small segments of an index become few large ones, rows that died are left behind, and what was tuned
to find less than the settings ask for now is tuned anew.

The answers stay the same to the bit of what is in them: rows and vectors are copied, and nothing is encoded, read from
the embeddings or planned. Each merge is a commit of its own, so whoever stops or kills a compaction keeps the merges
that were done; the segments that were merged stay for readers and for rollbacks, until gc.
"""

import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.errors import CommitConflict, CorruptFile, CountsDoNotReconcile
from embeddings_dagster.index import Block, GenerationManifest, Generations, SegmentEntry, discard_segment
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.compact_plan import Merge, is_far_overfull, next_merge
from embeddings_dagster.stages.compact_rows import LiveRows
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.identities import identity as identity_of
from embeddings_dagster.stages.index_segments import make_segment
from embeddings_dagster.stages.index_state import IndexState, index_state, state_file
from embeddings_dagster.stages.opened import model_settings
from embeddings_dagster.stages.refreshing import refreshed
from embeddings_dagster.stages.statistics import Statistics, require_handed_over, without_zeros
from embeddings_dagster.store import Store


@dataclass(frozen=True)
class CompactReport:
    """What a compaction did. `generation` is the newest now (None: there is no index); `finished`: nothing is left to
    merge. `merged` counts segments, `written` rows, `moved` those of `rows` that are in another segment now, `dropped`
    dead rows that are gone; bytes are those of all segments.
    """

    model: str
    fingerprint: str
    generation: int | None
    pinned: bool
    finished: bool
    rows: int
    segments_before: int
    segments_after: int
    bytes_before: int
    bytes_after: int
    merges: int
    merged: int
    written: int
    moved: int
    dropped: int
    seconds: float

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**asdict(self), "statistics": self.statistics.counts}

    @property
    def statistics(self) -> Statistics:
        """Every live row is in a new segment, or where it was; dead ones are removed."""
        where_they_were = self.rows - self.moved
        return Statistics(stage="compaction", where=self.model, unit="rows", total=self.rows, processed=self.moved,
                          skipped=where_they_were, failed=0, reasons=without_zeros(where_they_were=where_they_were),
                          removed=self.dropped, seconds=self.seconds)  # fmt: skip


@dataclass(frozen=True)
class Due:
    """Whether an index wants a compaction, from one manifest. `urgent`: so much that searches feel it."""

    generation: int | None
    mark: str
    pinned: bool
    wanted: bool
    urgent: bool


def segment_rows(settings: Settings) -> int:
    """How many rows a merged segment may hold."""
    return settings.index.segment_rows


def _next_merge(settings: Settings, segments: Sequence[SegmentEntry]) -> Merge | None:
    return next_merge(segments, segment_rows(settings), settings.index.recall_target)


def compaction_due(store: Store, settings: Settings, model: str, identity: ModelIdentity) -> Due:
    """What a compaction of an index would find. Raises CorruptFile where that cannot be told."""
    base = Generations(store, model, identity.fp12).latest()
    if base is None:
        return Due(None, "", pinned=False, wanted=False, urgent=False)
    wanted = not base.pinned and _next_merge(settings, base.segments) is not None
    urgent = not base.pinned and is_far_overfull(base.segments, segment_rows(settings))
    return Due(base.version, base.self_sha256, base.pinned, wanted, urgent)


def compact_index(
    context: StageContext,
    name: str,
    identity: ModelIdentity | None = None,
    *,
    max_seconds: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> CompactReport:
    """Merge segments of the index of a model's settings until none is due; a pinned index is left as it is.

    No merge begins later than `max_seconds` after the call. `identity` is that of the settings' model, where the caller
    has it already.

    Raises:
        UnknownItem: no such model in the settings.
        Stopped: a stop was asked for; the merges that were whole are committed.
        CommitConflict: other writers won every race.
        CorruptFile: a segment that was to be merged is damaged.
        CountsDoNotReconcile: a merge has other live rows than what was merged; it was not committed.
    """
    started = clock()
    settings = model_settings(context.settings, name)
    identity = identity or identity_of(context.store, name, settings)
    generations = Generations(context.store, name, identity.fp12)
    path = state_file(context.store.cache, name, identity.fp12)
    compaction = _Compaction(context, generations, identity, path, lambda: clock() - started < max_seconds)
    before = generations.latest()
    done: list[Merge] = []
    while (merge := refreshed(context, generations.folder, path, compaction.attempt)) is not None:
        done.append(merge)
    return _report(context.settings, generations, identity, before, done, clock() - started)


class _Compaction:
    """Merges, one at a time: plan, write, commit."""

    def __init__(
        self,
        context: StageContext,
        generations: Generations,
        identity: ModelIdentity,
        state: Path,
        has_time: Callable[[], bool],
    ) -> None:
        self._context, self._generations, self._identity = context, generations, identity
        self._state, self._has_time = state, has_time

    def attempt(self) -> Merge | None:
        """Do what is to be done first; None: nothing, or not any more."""
        self._context.check_stop()
        base = self._generations.latest()
        if base is None or base.pinned or not self._has_time():
            return None
        merge = _next_merge(self._context.settings, base.segments)
        if merge is None:
            return None
        with index_state(self._state) as state:
            follows = state.matches(base.self_sha256)
            segments = self._write(merge, state if follows else None)
            manifest = self._commit(base, merge, segments)
            if follows:
                state.mark(manifest.self_sha256)
        self._context.log(
            f"{self._generations.model}: {len(merge.segments)} segments became {len(segments)} of {merge.rows:,} rows, "
            f"generation {manifest.version}"
        )
        return merge

    def _write(self, merge: Merge, state: IndexState | None) -> tuple[SegmentEntry, ...]:
        """Write the segments that a merge makes; `state` learns where its rows are now."""
        written: list[str] = []
        made: list[SegmentEntry] = []
        start = 0
        try:
            rows = self._live_rows(merge)
            for count in merge.parts:
                written.append(uuid.uuid4().hex)
                blocks = self._blocks(rows, start, start + count, written[-1], state)
                made.append(make_segment(self._context, self._generations, self._identity, written[-1], count, blocks))
                start += count
        except BaseException:
            self._take_back(written)
            raise
        return tuple(made)

    def _live_rows(self, merge: Merge) -> LiveRows:
        rows = LiveRows.open(self._generations, merge.segments, self._identity.dimension)
        if len(rows) != merge.rows:
            raise CorruptFile(
                f"{self._generations.versions.what}: {len(rows)} rows are live where its generation says {merge.rows}; "
                "`embeddings verify` says what is damaged"
            )
        return rows

    def _blocks(self, rows: LiveRows, start: int, stop: int, name: str, state: IndexState | None) -> Iterator[Block]:
        label = 0
        for copied in rows.blocks(start, stop):
            self._context.check_stop()
            yield copied.block
            if state is not None:
                state.move(name, label, copied.keys(), copied.segments, copied.labels)
            label += len(copied.labels)
            if self._context.progress is not None:
                self._context.progress(f"{self._generations.model}_index", start + label, len(rows))

    def _commit(self, base: GenerationManifest, merge: Merge, segments: tuple[SegmentEntry, ...]) -> GenerationManifest:
        gone = {segment.uuid for segment in merge.segments}
        kept = (segment for segment in base.segments if segment.uuid not in gone)
        following = replace(base, run_id=self._context.run_id, segments=(*kept, *segments))
        try:
            require_handed_over("compaction", self._generations.model, "rows", base.rows, following.rows)
            return self._generations.commit(base, following)
        except (CommitConflict, CountsDoNotReconcile):  # after others the commit may stand all the same
            self._take_back([segment.uuid for segment in segments])
            raise

    def _take_back(self, names: list[str]) -> None:
        """Remove what was written; what cannot be removed now is nobody's, and gc's to take."""
        for name in names:
            with suppress(OSError):
                discard_segment(self._context.store.files, self._generations.folder, name)


def _report(
    settings: Settings,
    generations: Generations,
    identity: ModelIdentity,
    before: GenerationManifest | None,
    done: list[Merge],
    seconds: float,
) -> CompactReport:
    after = generations.latest()
    pinned = after is not None and after.pinned
    segments = after.segments if after else ()
    known = {segment.uuid for segment in before.segments} if before else set()
    return CompactReport(
        model=generations.model,
        fingerprint=identity.fingerprint,
        generation=after.version if after else None,
        pinned=pinned,
        finished=not pinned and _next_merge(settings, segments) is None,
        rows=after.rows if after else 0,
        segments_before=len(before.segments) if before else 0,
        segments_after=len(segments),
        bytes_before=_bytes_of(before),
        bytes_after=_bytes_of(after),
        merges=len(done),
        merged=sum(len(merge.segments) for merge in done),
        written=sum(merge.rows for merge in done),
        moved=sum(each.live for each in segments if each.uuid not in known),
        dropped=sum(segment.rows - segment.live for merge in done for segment in merge.segments),
        seconds=round(seconds, 3),
    )


def _bytes_of(manifest: GenerationManifest | None) -> int:
    """The bytes of all files of a generation but its manifest."""
    segments = manifest.segments if manifest else ()
    files = (file.bytes for segment in segments for file in segment.files.values())
    return sum(files) + sum(segment.deletions.bytes for segment in segments if segment.deletions)
