"""Plan, do, commit: the one way every per-batch stage runs.

A stage says what it wants and how to make an image; this says when that is planned, counted and committed. Who loses a
commit race plans again on what the winner left, so nothing is made twice and nothing of either is lost. Every input is
accounted for by its key before a version is called complete: made of what was wanted or failed, once.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from embeddings_dagster.errors import CommitConflict, CountsDoNotReconcile, DecoderUnavailable, ItemError, Stopped
from embeddings_dagster.ids import Key
from embeddings_dagster.stages.account import Account, now, reasons_of
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.held import held
from embeddings_dagster.stages.plan import Plan, plan
from embeddings_dagster.stages.statistics import lost
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
    """What a stage wants of one batch, counted in `unit`. `outdated`: keys whose rows are to be made anew though their
    input is the same, for what a row carries beside what it was made from.
    """

    stage: str
    chain: Chain
    table: Table
    label: Mapping[str, str]
    wanted: Mapping[Key, str]
    inputs: Mapping[str, Mapping[str, object]]
    make: Callable[[Plan], Iterable[Made]]
    outdated: frozenset[Key] = frozenset()
    unit: str = "regions"

    def lost(self, difference: str, keys: Iterable[Key]) -> CountsDoNotReconcile:
        """What is raised where the keys made are not the keys that were to be made."""
        names = (f"{key.image_id} region {key.region}" if key.region else key.image_id for key in sorted(keys))
        return lost(self.stage, self.chain.batch, difference, names)


def carry_out(context: StageContext, job: Job) -> Account:
    """Bring the batch to the state `job` wants.

    Raises:
        Stopped: a stop was asked for; whole images are committed.
        CommitConflict: other writers won every race.
        CountsDoNotReconcile: an input was neither made nor failed, or more than once, or of something that was not
            wanted; nothing was marked complete.
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
    heal = context.force or context.heal
    writer = job.chain.writer(job.table, run_id=context.run_id, label=job.label, heal=heal)
    past = writer.failed()
    present = {key: input_hash for key, input_hash in writer.present().items() if key not in job.outdated}
    todo = plan(job.wanted, present, past, retry_failed=context.retry_failed, force=context.force)
    writer.drop(todo.gone)
    tally = _Tally(context, job, past, len(todo.images), set(todo.todo))
    try:
        for made in job.make(todo):
            tally.write(writer, made)
            context.check_stop()
        tally.require_all(len(todo.todo))
    except (Stopped, KeyboardInterrupt, CountsDoNotReconcile):
        writer.checkpoint()
        raise
    except DecoderUnavailable:
        if not context.stop.is_set():
            raise
        writer.checkpoint()  # what stops us stops a process that is being started, too
        context.check_stop()
    manifest = writer.finish(inputs=job.inputs, total=len(job.wanted))
    failures = tuple(job.chain.failures(manifest))
    return Account(
        stage=job.stage,
        where=job.chain.batch,
        unit=job.unit,
        dataset=job.chain.dataset,
        total=len(job.wanted),
        processed=tally.processed,
        skipped=len(todo.kept),
        failed=tally.failed + len(todo.failed),
        reasons=reasons_of(len(todo.kept), failures),
        removed=len(todo.gone),
        reused=tally.reused,
        version=manifest.version,
        content=manifest.content,
        seconds=round(time.monotonic() - started, 3),
        bytes_written=writer.bytes_written,
        failures=failures,
        precisions=dict(tally.precisions),
    )


@dataclass
class _Tally:
    """What was made until now. `left`: the keys that are still to be made."""

    context: StageContext
    job: Job
    past: Mapping[Key, Failure]
    images: int
    left: set[Key]
    done: int = 0
    processed: int = 0
    failed: int = 0
    reused: int = 0
    precisions: Counter[str] = field(default_factory=Counter)

    def write(self, writer: Writer, made: Made) -> None:
        self._settle(made)
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

    def require_all(self, asked: int) -> None:
        """Raises CountsDoNotReconcile: something that was to be made is neither a row nor a failure."""
        if self.left:
            unit = self.job.unit
            raise self.job.lost(
                f"of {asked:,} {unit} to be made, {len(self.left):,} are neither rows nor failures", self.left
            )

    def _settle(self, made: Made) -> None:
        """Raises CountsDoNotReconcile: a key is made again, was not to be made, or is made of another input."""
        states = {Key(made.image_id, int(str(row.get("region", 0)))): row["input_hash"] for row in made.rows}
        settled = states.keys() | {Key(made.image_id, region) for region in made.errors or ()}
        unit = self.job.unit
        if len(settled) != len(made.rows) + len(made.errors or ()):
            raise self.job.lost(f"{unit} of one image came more than once", settled)
        if strange := settled - self.left:
            raise self.job.lost(f"{len(strange):,} {unit} came that were not to be made, or came before", strange)
        if other := [key for key, state in states.items() if state != self.job.wanted[key]]:
            raise self.job.lost(f"{len(other):,} {unit} were made of another input than was wanted", other)
        self.left -= settled

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
