"""Plan, do, commit: the one way every per-batch stage runs.

A stage says what it wants and how to make an image; this says when that is planned, counted and committed. Who loses a
commit race plans again on what the winner left, so nothing is made twice and nothing of either is lost.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from embeddings_dagster.errors import CommitConflict, DecoderUnavailable, ItemError, Stopped
from embeddings_dagster.ids import Key
from embeddings_dagster.stages.account import Account, now
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.held import held
from embeddings_dagster.stages.plan import Plan, plan
from embeddings_dagster.store import Chain, Failure, Table, Writer

RACES = 5  # lost commit races before giving up: with a lock held as a courtesy even one is rare

Row = Mapping[str, object]


@dataclass(frozen=True)
class Made:
    """One image done: its rows, and the regions of it that could not be made. `reused`: rows that cost no work."""

    image_id: str
    rows: Sequence[Row] = ()
    errors: Mapping[int, ItemError] | None = None
    reused: int = 0


@dataclass(frozen=True)
class Job:
    """What a stage wants of one batch. `outdated`: keys whose rows are to be made anew though their input is the same,
    for what a row carries beside what it was made from.
    """

    stage: str
    chain: Chain
    table: Table
    label: Mapping[str, str]
    wanted: Mapping[Key, str]
    inputs: Mapping[str, Mapping[str, object]]
    make: Callable[[Plan], Iterable[Made]]
    outdated: frozenset[Key] = frozenset()


def carry_out(context: StageContext, job: Job) -> Account:
    """Bring the batch to the state `job` wants.

    Raises:
        Stopped: a stop was asked for; whole images are committed.
        CommitConflict: other writers won every race.
        CountsDoNotReconcile: an input was neither made nor failed; nothing was marked complete.
    """
    started = time.monotonic()
    with held(context, f"{job.chain.dataset}/{job.chain.batch}"):
        for race in range(RACES):
            try:
                return _once(context, job, started)
            except CommitConflict as conflict:
                if race == RACES - 1:
                    raise
                context.log(f"{conflict}; planning again")
    raise AssertionError("unreachable")


def _once(context: StageContext, job: Job, started: float) -> Account:
    writer = job.chain.writer(job.table, run_id=context.run_id, label=job.label, heal=context.force)
    past = writer.failed()
    present = {key: input_hash for key, input_hash in writer.present().items() if key not in job.outdated}
    todo = plan(job.wanted, present, past, retry_failed=context.retry_failed, force=context.force)
    writer.drop(todo.gone)
    tally = _Tally(context, job, past, len(todo.images))
    try:
        for made in job.make(todo):
            tally.write(writer, made)
            context.check_stop()
    except (Stopped, KeyboardInterrupt):
        writer.checkpoint()
        raise
    except DecoderUnavailable:
        if not context.stop.is_set():
            raise
        writer.checkpoint()  # what stops us stops a process that is being started, too
        context.check_stop()
    manifest = writer.finish(inputs=job.inputs, total=len(job.wanted))
    return Account(
        stage=job.stage,
        dataset=job.chain.dataset,
        batch=job.chain.batch,
        total=len(job.wanted),
        processed=tally.processed,
        skipped=len(todo.kept),
        failed=tally.failed + len(todo.failed),
        removed=len(todo.gone),
        reused=tally.reused,
        version=manifest.version,
        content=manifest.content,
        seconds=round(time.monotonic() - started, 3),
        bytes_written=writer.bytes_written,
        failures=tuple(job.chain.failures(manifest)),
        precisions=dict(tally.precisions),
    )


@dataclass
class _Tally:
    context: StageContext
    job: Job
    past: Mapping[Key, Failure]
    images: int
    done: int = 0
    processed: int = 0
    failed: int = 0
    reused: int = 0
    precisions: Counter[str] = field(default_factory=Counter)

    def write(self, writer: Writer, made: Made) -> None:
        if made.rows:
            writer.add(made.rows)
            self.processed += len(made.rows)
            if not made.reused:
                self.precisions.update(str(row["precision"]) for row in made.rows if "precision" in row)
        for region, error in (made.errors or {}).items():
            writer.fail(self._failure(Key(made.image_id, region), error))
            self.failed += 1
        self.reused += made.reused
        self.done += 1
        if self.context.progress is not None:
            self.context.progress(f"{self.job.stage} {self.job.chain.batch}", self.done, self.images)

    def _failure(self, key: Key, error: ItemError) -> Failure:
        input_hash = self.job.wanted[key]
        before = self.past.get(key)
        again = before is not None and before.input_hash == input_hash
        return Failure(
            image_id=key.image_id,
            region=key.region,
            input_hash=input_hash,
            stage=self.job.stage,
            error_class=type(error).__name__,
            message=str(error),
            retryable=error.retryable,
            seen_at=now(),
            attempts=before.attempts + 1 if before is not None and again else 1,
        )


def by_image(keys: Iterable[Key]) -> dict[str, list[int]]:
    """Regions of each image, ascending; images in the order first met."""
    grouped: dict[str, list[int]] = {}
    for key in keys:
        grouped.setdefault(key.image_id, []).append(key.region)
    for regions in grouped.values():
        regions.sort()
    return grouped


def failed_image(image_id: str, regions: Sequence[int], error: ItemError) -> Made:
    """The whole image cannot be made: every region of it fails for the same reason."""
    return Made(image_id, errors=dict.fromkeys(regions, error))
