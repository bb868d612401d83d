"""Where strangers' pictures are decoded: ordinary ones right here, risky ones in a process of their own.

The answers are the same either way. A picture that takes too long, takes too much memory or crashes its decoder ends
alone: it costs its process and becomes an `ImageError`; the next one gets a new process. Processes are started when
first needed, live as long as the workshop, and die with this process however it ends.
"""

import threading
from dataclasses import asdict
from types import TracebackType
from typing import Self

from PIL import Image

from embeddings_dagster import errors
from embeddings_dagster.errors import DecodeFailed, DecodeOutOfMemory, DecodeTookTooLong, ImageError, Stopped
from embeddings_dagster.images import frames
from embeddings_dagster.images.cores import usable_cores
from embeddings_dagster.images.decode import decode
from embeddings_dagster.images.formats import detect
from embeddings_dagster.images.probe import Probe, probe
from embeddings_dagster.images.rgb import RgbImage, to_rgb
from embeddings_dagster.images.risk import risk
from embeddings_dagster.images.rules import DecodeRules
from embeddings_dagster.images.worker_process import WorkerDied, WorkerProcess


class Workshop:
    """`probe`, `to_rgb` and `decode` under some rules, for any number of threads; a context manager.

    At most `processes` are started, by default one for each core: that is what a decoder keeps busy.
    """

    def __init__(
        self, rules: DecodeRules, *, processes: int | None = None, stop: threading.Event | None = None
    ) -> None:
        """`stop`: once it is set, pictures in a process of their own are given up."""
        self.rules = rules
        self._stop = stop
        self._places = threading.BoundedSemaphore(processes or usable_cores())
        self._lock = threading.Lock()
        self._idle: list[WorkerProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; to be called when no thread is at work any more. More work starts new ones."""
        with self._lock:
            ended, self._idle = self._idle, []
        for worker in ended:
            worker.end()

    def probe(self, data: bytes) -> Probe:
        """See `images.probe`.

        Raises:
            ImageError: as there, or `DecodeTookTooLong`.
            DecoderUnavailable: no process can be started.
            Stopped: a stop was asked for.
        """
        if self._is_done_here(data):
            return probe(data, self.rules)
        found, _ = self._ask("probe", data)
        return Probe(**{**found, "upright": tuple(found["upright"])})

    def to_rgb(self, data: bytes) -> RgbImage:
        """See `images.to_rgb`.

        Raises:
            ImageError: as there, or `DecodeTookTooLong`.
            DecoderUnavailable: no process can be started.
            Stopped: a stop was asked for.
        """
        if self._is_done_here(data):
            return to_rgb(data, self.rules)
        made, (converted, thumbnail) = self._ask("to_rgb", data)
        return RgbImage(data if made["passthrough"] else converted, thumbnail=thumbnail, **made)

    def decode(self, data: bytes, *, at_least: int = 0) -> Image.Image:
        """See `images.decode`.

        Raises:
            ImageError: as there, or `DecodeTookTooLong`.
            DecoderUnavailable: no process can be started.
            Stopped: a stop was asked for.
        """
        if self._is_done_here(data):
            return decode(data, self.rules, at_least=at_least)
        size, (pixels,) = self._ask("decode", data, at_least=at_least)
        return Image.frombytes("RGB", (size["width"], size["height"]), pixels)

    def _is_done_here(self, data: bytes) -> bool:
        return len(data) > self.rules.max_bytes or not risk(data)  # too many bytes are refused without a look at them

    def _ask(self, do: str, data: bytes, *, at_least: int = 0) -> tuple[frames.Header, list[bytes]]:
        question = {"do": do, "rules": asdict(self.rules), "at_least": at_least}
        with self._places:
            try:
                answer, bodies = self._answer(question, data)
            except WorkerDied as died:
                if died.stopped:
                    raise Stopped("stopped on request while decoding; run again to go on") from died
                raise self._named(died, data) from died
        if "error" in answer:
            error: ImageError = getattr(errors, answer["error"])(answer["message"])
            error.retryable = answer["retryable"]
            raise error
        return answer, bodies

    def _answer(self, question: frames.Header, data: bytes) -> tuple[frames.Header, list[bytes]]:
        worker = self._hire()
        try:
            answer = worker.ask(question, data, self.rules.max_seconds, self._stop)
        except WorkerDied as died:
            if died.expired or died.stopped or worker.served == 0:
                raise
            # An earlier picture may have left it damaged, or someone ended it: this one gets a chance of its own.
            worker = WorkerProcess()
            answer = worker.ask(question, data, self.rules.max_seconds, self._stop)
        with self._lock:
            self._idle.append(worker)
        return answer

    def _hire(self) -> WorkerProcess:
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                return WorkerProcess()
            if worker.usable:
                return worker
            worker.end()

    def _named(self, died: WorkerDied, data: bytes) -> ImageError:
        kind = detect(data)
        name = kind.name if kind else "picture"
        if died.expired:
            return DecodeTookTooLong(
                f"{name}: not decoded within rgb.max_seconds = {self.rules.max_seconds:g}; raise it and run with "
                "--retry-failed, or replace the picture"
            )
        if died.killed:
            return DecodeOutOfMemory(
                f"{name}: its process was killed while it was decoded, most likely because the machine ran out of "
                "memory; free some and run again, or replace the picture by a smaller one"
            )
        return DecodeFailed(
            f"{name}: the decoder crashed on it ({died.ending}); replace it, or save it again as PNG or JPEG"
        )
