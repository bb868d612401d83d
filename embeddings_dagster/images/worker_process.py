"""One worker process as its parent sees it: started, asked, and gone for good at a deadline or when it dies."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import BinaryIO

from embeddings_dagster.errors import DecoderUnavailable
from embeddings_dagster.images import frames

MODULE = "embeddings_dagster.images.worker"
START_SECONDS = 120.0  # a cold disk, a busy machine
LOOK_SECONDS = 0.2  # between two looks at the stop event while a picture is decoded
# One thread each, and no memory set aside for more: the parent decides how many pictures are decoded at once.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class WorkerDied(Exception):
    """The process ended before it answered. `expired`: it was ended at the deadline, `stopped`: because a stop was
    asked for. `ending`: what ended it."""

    def __init__(self, expired: bool, code: int, *, stopped: bool = False) -> None:
        self.expired = expired
        self.stopped = stopped
        self.killed = code == -getattr(signal, "SIGKILL", 9)
        self.ending = _ending(code)
        super().__init__(self.ending)


class WorkerProcess:
    """A running worker; one question at a time. `served`: how many it has answered."""

    def __init__(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            DecoderUnavailable: it cannot be started.
        """
        self.served = 0
        self._expired = False
        self._said = ""
        self._lifeline: int | None = None
        try:
            self._process = self._start()
        except OSError as error:
            self._drop_lifeline()
            raise DecoderUnavailable(
                f"no process can be started to decode a picture in ({error.strerror or error}); free some memory or "
                "raise the limit on processes, then run again"
            ) from error
        try:
            self._exchange({}, None, START_SECONDS)
        except WorkerDied as died:
            raise DecoderUnavailable(
                f"the process that decodes pictures did not start ({died.ending}): {self._said or 'it said nothing'}; "
                f"check the installation with: {sys.executable} -m {MODULE} < /dev/null"
            ) from died
        assert self._process.stderr is not None
        self._process.stderr.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it can be asked again."""
        return not self._expired and self._process.poll() is None

    def ask(
        self, question: Mapping[str, object], data: bytes, seconds: float, stop: threading.Event | None = None
    ) -> tuple[frames.Header, list[bytes]]:
        """The answer to a question about a picture.

        Raises:
            WorkerDied: there was none within `seconds`, or before `stop` was set, or the process died over it. It
                cannot be used any more.
        """
        answer = self._exchange(question, data, seconds, stop)
        self.served += 1
        return answer

    def end(self) -> None:
        """Kill it, if it still is there, and leave nothing of it behind."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):  # what was not written yet has no reader any more
                if stream is not None:
                    stream.close()
        self._drop_lifeline()

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", MODULE]
        kept: tuple[int, ...] = ()
        if os.name == "posix":
            end, self._lifeline = os.pipe()
            command.append(str(end))
            kept = (end,)
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                pass_fds=kept,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        finally:
            for end in kept:
                os.close(end)

    def _exchange(
        self,
        question: Mapping[str, object],
        data: bytes | None,
        seconds: float,
        stop: threading.Event | None = None,
    ) -> tuple[frames.Header, list[bytes]]:
        """One message there, unless `data` is None, and one back, or the end of the process."""
        requests, answers = self._pipes()
        answered = threading.Event()
        watch = threading.Thread(target=self._watch, args=(answered, seconds, stop), name="decoder watch", daemon=True)
        watch.start()
        try:
            if data is not None:
                frames.send(requests, question, data)
            return frames.receive(answers)
        except (EOFError, OSError, ValueError, KeyError) as error:  # the last two: no message, as only the dying send
            code = self._code()
            self._said = self._last_words()
            self.end()
            raise WorkerDied(self._expired, code, stopped=stop is not None and stop.is_set()) from error
        except BaseException:  # interrupted in the middle of a message: no later one would be understood
            self.end()
            raise
        finally:
            answered.set()

    def _pipes(self) -> tuple[BinaryIO, BinaryIO]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        return stdin, stdout  # type: ignore[return-value]

    def _watch(self, answered: threading.Event, seconds: float, stop: threading.Event | None) -> None:
        """Kill the process at its deadline, or when a stop is asked for."""
        end = time.monotonic() + seconds
        while not answered.wait(max(0.0, min(end - time.monotonic(), LOOK_SECONDS))):
            self._expired = time.monotonic() >= end
            if self._expired or (stop is not None and stop.is_set()):
                self._process.kill()
                return

    def _code(self) -> int:
        try:
            return self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _last_words(self) -> str:
        """What it printed before it was ready."""
        stream = self._process.stderr
        if stream is None or stream.closed:
            return ""
        lines = stream.read().decode("utf-8", "replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")

    def _drop_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
