"""The line that pictures take: asked for, made ready in threads, gathered into batches, encoded, answered.

Pictures that are asked for at the same time go through the models together, whoever asked; one alone does not wait for
company. Each is read and decoded once, whatever the number of models. One that fails, or that nobody waits for any
more, costs no other anything. What is ready and waits for the models is bounded by a few batches and `AHEAD_BYTES`.

Answers are plain futures: the line belongs to no event loop and no thread, and may be used from any.
All that it knows is kept under one lock; threads are those of executors, which end with the process.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embeddings_dagster.embedder.models import CLOSED, Models
from embeddings_dagster.embedder.pictures import Boxes, Pictures, Source
from embeddings_dagster.embedder.preparing import Prepared, answer, prepare
from embeddings_dagster.embedder.results import Embedded
from embeddings_dagster.errors import ModelError

if TYPE_CHECKING:
    from embeddings_dagster.embedder.stage import Stage

AHEAD_BYTES = 256 * 2**20  # of pixels that are being made ready or wait for the models
CLOSED_BEFORE = "the embedder was closed before this picture was encoded"
COMPANY = 0.005  # seconds that a batch waits for pictures that are being made ready; small beside encoding one


@dataclass(eq=False)
class Job:
    """A picture on its way. `at_most`: pictures in its batch, itself included."""

    source: Source
    boxes: Boxes
    at_most: int
    answer: "Future[Embedded]" = field(default_factory=Future)
    ready: Prepared | None = None
    cost: int = 0
    admitted: bool = False


class Line:
    """See the module."""

    def __init__(self, models: Models, pictures: Pictures, *, batch_size: int | str, threads: int) -> None:
        self._models, self._pictures = models, pictures
        self._batch_size, self._threads = batch_size, threads
        self._decoders = ThreadPoolExecutor(threads, thread_name_prefix="embedder-decode")
        self._loading = threading.Lock()
        self._stage: Stage | None = None
        self._state = threading.Condition()
        self._jobs: set[Job] = set()  # all that are not answered
        self._asked: deque[Job] = deque()
        self._ready: list[Job] = []
        self._inside = self._held = 0  # admitted and not answered: jobs, and bytes of their pixels
        self._preparing = 0
        self._closed = False

    def submit(self, source: Source, boxes: Boxes, at_most: int) -> "Future[Embedded]":
        """The answer to come. What is wrong with the picture is told in it; what is raised is the model's fault.

        Raises:
            ModelError: the line has been closed.
        """
        job = Job(source, boxes, at_most)
        with self._state:
            if self._closed:
                raise ModelError(CLOSED)
            self._jobs.add(job)
            self._asked.append(job)
        self._admit()
        return job.answer

    def ahead(self, at_most: int) -> int:
        """How many pictures may be asked for, and unanswered, for the line to be busy."""
        stage = self._stage
        lanes, size = (stage.lanes, min(stage.size, at_most)) if stage else (1, min(at_most, self._threads))
        return self._threads + (lanes + 1) * size

    def close(self) -> None:
        """End the threads; what is unanswered fails. To be called once."""
        with self._state:
            self._closed = True
            self._asked.clear()
            self._state.notify_all()
        self._decoders.shutdown(wait=True, cancel_futures=True)
        if self._stage is not None:
            self._stage.close()
        self._fail_all(ModelError(CLOSED_BEFORE))

    def _admit(self) -> None:
        """Hand on what was asked for, as far as there is room."""
        while True:
            with self._state:
                while self._asked and self._asked[0].answer.cancelled():
                    self._jobs.discard(self._asked.popleft())
                if not self._asked or not self._has_room(self._asked[0]):
                    return
                job = self._asked.popleft()
                job.admitted = True
                self._inside += 1
                self._held += job.cost
                self._preparing += 1
            self._hand_on(job, self._decoders, self._prepare, job)

    def _has_room(self, job: Job) -> bool:
        stage = self._stage
        if not self._inside:
            return True
        if stage is None:
            return self._inside < self._threads
        job.cost = stage.bytes_of_a_region * len(job.boxes)
        return self._inside < self.ahead(stage.size) and self._held + job.cost <= AHEAD_BYTES

    def _hand_on(self, job: Job, pool: ThreadPoolExecutor, do: Callable[..., None], *given: object) -> None:
        try:
            pool.submit(do, *given)
        except RuntimeError:  # the line is closed, or the process is ending
            self._settle(job, ModelError(CLOSED_BEFORE))

    def _prepare(self, job: Job) -> None:
        """In a thread of the decoders."""
        outcome: Embedded | BaseException | None = None
        stage = None
        try:
            stage = self._opened(job)
            if stage is None or job.answer.cancelled():
                outcome = ModelError(CLOSED_BEFORE)
            else:
                job.ready = prepare(stage.encoders, self._pictures, job.source, job.boxes)
                if not job.ready.units:
                    outcome = answer(job.source, job.boxes, self._models.names, job.ready, {})
        except BaseException as error:  # a job that is lost would be waited for for ever
            outcome = error
        with self._state:
            self._preparing -= 1
            if outcome is None:
                self._ready.append(job)
            queued, quiet = len(self._ready), len(self._ready) == len(self._jobs)
            self._state.notify_all()
        if outcome is None and stage is not None:
            self._hand_on(job, stage.lane(quiet, queued), self._encode, stage)
        else:
            self._settle(job, outcome or ModelError(CLOSED_BEFORE))
            self._admit()

    def _opened(self, job: Job) -> "Stage | None":
        """The models, loaded if they are not; None where that failed, which is the answer to all jobs there are."""
        with self._loading:
            if self._stage is None and not job.answer.done() and not self._closed:
                try:
                    encoders = self._models.encoders()
                    from embeddings_dagster.embedder.stage import Stage

                    self._stage = Stage(encoders, self._batch_size)
                except Exception as error:
                    self._fail_all(error)
        return self._stage

    def _encode(self, stage: "Stage") -> None:
        """In a thread of the stage: encode what is ready, if no other thread has taken it."""
        batch = self._take(stage)
        try:
            encoded = stage.encode([prepared for _, prepared in batch]) if batch else {}
            for at, (job, prepared) in enumerate(batch):
                of_models = {name: results[at] for name, results in encoded.items()}
                self._settle(job, answer(job.source, job.boxes, self._models.names, prepared, of_models))
        except BaseException as error:
            for job, _ in batch:
                self._settle(job, error)
        self._admit()  # for an empty batch too: what was cancelled has made room

    def _take(self, stage: "Stage") -> list[tuple[Job, Prepared]]:
        """A batch of what is ready: full, or of all there is when nothing more comes within `COMPANY`."""
        until = time.monotonic() + COMPANY
        with self._state:
            while self._ready and self._preparing and not self._closed:
                left = until - time.monotonic()
                if len(self._ready) >= min(stage.size, self._ready[0].at_most) or left <= 0:
                    break
                self._state.wait(left)
            taken: list[tuple[Job, Prepared]] = []
            most = stage.size
            while self._ready and len(taken) < (most := min(most, self._ready[0].at_most)):
                job = self._ready.pop(0)
                if job.ready is not None and not job.answer.cancelled():
                    taken.append((job, job.ready))
                else:
                    self._leave(job)
            return taken

    def _settle(self, job: Job, outcome: "Embedded | BaseException") -> None:
        """Answer a job, once."""
        with self._state:
            if job not in self._jobs:
                return
            self._leave(job)
        if job.answer.set_running_or_notify_cancel():
            if isinstance(outcome, BaseException):
                job.answer.set_exception(outcome)
            else:
                job.answer.set_result(outcome)

    def _leave(self, job: Job) -> None:
        """Forget a job; the lock is held."""
        self._jobs.discard(job)
        job.ready = None
        if job.admitted:
            job.admitted = False
            self._inside -= 1
            self._held -= job.cost

    def _fail_all(self, error: Exception) -> None:
        with self._state:
            failed = list(self._jobs)
            self._asked.clear()
        for job in failed:
            self._settle(job, error)
