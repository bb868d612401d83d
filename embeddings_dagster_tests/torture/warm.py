"""Processes that begin warm: a server that has imported everything forks a child for each command.

To start Python with torch and Dagster costs seconds, and a machine that kills a thousand runs cannot pay that. The
server imports and does nothing else: no thread, no model, no open database, no OpenMP team; so what it forks is as good
as a new process. A child gets a session of its own, and calls the command's own entry point with the arguments, folder
and environment that it is given.
"""

import gc
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 120.0
# Else a part closes after 512 images: a batch of a few would have no unfinished versions to die between and go on from.
PART_IMAGES = 3
# Else OpenBLAS and Arrow's allocator start threads when they are imported.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "TOKENIZERS_PARALLELISM": "false",
}


class Warm:
    """The server as its user sees it; one child at a time."""

    def __init__(self) -> None:
        root = Path(__file__).resolve().parents[2]
        self._server = subprocess.Popen(
            [sys.executable, "-m", "embeddings_dagster_tests.torture.warm"],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(root)},
        )
        ready = self._answer(START_SECONDS)
        assert ready == {"threads": 1}, f"forking is not sound: {ready}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        try:
            self._server.wait(30)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()

    def start(
        self, program: str, argv: Sequence[str], cwd: Path, environment: Mapping[str, str], out: Path, log: Path
    ) -> "Child":
        """Fork a child that runs `program` (a key of `PROGRAMS`); what it prints goes to `out`, errors are added to
        `log`."""
        order = {"program": program, "argv": list(argv), "cwd": str(cwd), "env": dict(environment), "out": str(out),
                 "log": str(log)}  # fmt: skip
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(order).encode() + b"\n")
        self._server.stdin.flush()
        return Child(self, self._answer(START_SECONDS)["pid"])

    def _answer(self, seconds: float) -> dict[str, int]:
        assert self._server.stdout is not None
        if not select.select([self._server.stdout], [], [], seconds)[0]:
            raise TimeoutError(f"the warm server said nothing for {seconds:.0f} s")
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError(f"the warm server is gone (exit code {self._server.wait()})")
        found: dict[str, int] = json.loads(line)
        return found


class Child:
    """A forked run: a session of its own, whose id is `pid`. Exit codes are as `subprocess` has them."""

    def __init__(self, warm: Warm, pid: int) -> None:
        self._warm = warm
        self.pid = pid

    def wait(self, seconds: float) -> int | None:
        """Its exit code, or None where it has not ended by then."""
        try:
            return self._warm._answer(seconds)["code"]
        except TimeoutError:
            return None


class Started:
    """The same of a process that was started cold."""

    def __init__(self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str], out: Path, log: Path) -> None:
        with out.open("wb") as printed, log.open("ab") as errors:
            self._process = subprocess.Popen(
                argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=printed, stderr=errors,
                start_new_session=True,
            )  # fmt: skip
        self.pid = self._process.pid

    def wait(self, seconds: float) -> int | None:
        """Its exit code, or None where it has not ended by then."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


# ---- the server


def _import_everything() -> None:
    """All that a run imports; each of these modules is inert until it is used."""
    import importlib
    import pkgutil

    import embeddings_dagster

    # `definitions` reads the settings that are there when it is imported: that is for each child to do.
    unused = ("openvino_runtime", "openvino_model", "worker", "worker_guards", "daft", "definitions", "__main__")
    for module in pkgutil.walk_packages(embeddings_dagster.__path__, "embeddings_dagster."):
        if module.name.rpartition(".")[2] not in unused:
            importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)
    from embeddings_dagster.store.open_part import DEFAULT_LIMITS

    object.__setattr__(DEFAULT_LIMITS, "images", PART_IMAGES)


def _embeddings(argv: list[str]) -> None:
    from embeddings_dagster.cli import main

    sys.argv = ["embeddings", *argv]
    main(argv)


def _dagster(argv: list[str]) -> None:
    from dagster._cli import main

    sys.argv = ["dagster", *argv]
    main()


# What the libraries themselves import when they are first used.
LATE = (
    "faiss",
    "dagster._cli.job",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.image_processing_pil_clip",
    "transformers.models.dinov2.modeling_dinov2",
    "dagster._core.instance.factory",
    "dagster._core.storage.sqlite_storage",
    "sqlalchemy.dialects.sqlite",
    "dateutil.parser",
    "dagster._core.storage.root",
    "dagster._core.storage.noop_compute_log_manager",
    "dagster._core.instance.runs.run_domain",
    "dagster._core.definitions.repository_definition.repository_data_builder",
    "dagster._core.execution.plan.active",
    "transformers.models.bit.image_processing_pil_bit",
)
PROGRAMS = {"embeddings": _embeddings, "dagster": _dagster}


def _be_child(order: dict[str, object], tell: int) -> None:
    """Never returns."""
    code = 70
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        out = os.open(str(order["out"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        for target, end in enumerate((nowhere, out, log)):
            os.dup2(end, target)
            os.close(end)
        os.chdir(str(order["cwd"]))
        os.environ.clear()
        os.environ.update(order["env"])  # type: ignore[arg-type]
        os.write(tell, b"!")
        os.close(tell)
        gc.enable()
        PROGRAMS[str(order["program"])](list(order["argv"]))  # type: ignore[call-overload]
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else (0 if end.code is None else 1)
    except BaseException:
        traceback.print_exc()
    finally:
        # As an interpreter ends, but for the modules: threads are joined, `atexit` runs, buffers are flushed.
        import atexit
        import threading

        try:
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)  # what a library prints is no answer
    _import_everything()
    gc.collect()
    gc.freeze()
    answers.write(json.dumps({"threads": len(os.listdir("/proc/self/task"))}).encode() + b"\n")
    while line := sys.stdin.buffer.readline():
        order = json.loads(line)
        heard, tell = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(heard)
            answers.close()
            _be_child(order, tell)
        os.close(tell)
        os.read(heard, 1)  # it has its session now
        os.close(heard)
        answers.write(json.dumps({"pid": pid}).encode() + b"\n")
        _, status = os.waitpid(pid, 0)
        answers.write(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


if __name__ == "__main__":
    _serve()
