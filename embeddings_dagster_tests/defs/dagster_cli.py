"""Dagster's own commands against one DAGSTER_HOME, each in a process group of its own that ends with the test."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

BIN = Path(sys.executable).parent
WORKSPACE = "load_from:\n  - python_module: embeddings_dagster.definitions\n"
SECONDS = 120.0  # an import takes three seconds on a quiet machine, twenty on a busy one


class Cli:
    """A home, a folder with `embeddings.yaml` and `workspace.yaml`, and the commands run there."""

    def __init__(self, root: Path, coordinator: str = "") -> None:
        self.root = root
        self.home = root / "dagster-home"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n" + coordinator)
        (root / "workspace.yaml").write_text(WORKSPACE)
        settings = {key: value for key, value in os.environ.items() if not key.startswith("EMBEDDINGS_")}
        self.environment = {**settings, "DAGSTER_HOME": str(self.home), "PYTHONWARNINGS": "ignore"}
        self._groups: list[subprocess.Popen[bytes]] = []
        with self.instance():  # makes the tables: Dagster's processes race for it when several open a fresh home
            pass

    def start(self, *command: str, log: str) -> subprocess.Popen[bytes]:
        """Start a command; what it prints goes to a file."""
        with (self.root / f"{log}.log").open("wb") as out:
            process = subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                cwd=self.root,
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._groups.append(process)
        return process

    def run(self, *command: str, fails: bool = False) -> str:
        """Run a command to its end; its output."""
        log = f"run-{len(self._groups)}"
        process = self.start(*command, log=log)
        process.wait(timeout=SECONDS)
        out = self.log(log)
        assert (process.returncode != 0) == fails, out
        return out

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text(errors="replace")

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.home))

    def close(self) -> None:
        """End every group that was started, whatever is left in it."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            for process in self._groups:
                try:
                    os.killpg(process.pid, sign)
                except ProcessLookupError:
                    continue
            if sign == signal.SIGTERM:
                time.sleep(0.5)
        for process in self._groups:
            process.wait(timeout=10)


def until(happened: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """What `happened` returns, once it is true."""
    end = time.monotonic() + seconds
    while True:
        if found := happened():
            return found
        assert time.monotonic() < end, f"not within {seconds:.0f} seconds: {what}"
        time.sleep(0.5)


def ended(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    """A run, once it has ended."""

    def finished() -> dg.DagsterRun | None:
        run = instance.get_run_by_id(run_id)
        return run if run and run.is_finished else None

    found: dg.DagsterRun = until(finished, f"run {run_id} ends")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def graphql(port: int, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    """The data a query of the webserver gives."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query, "variables": variables or {}}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        body = json.loads(answer.read())
    assert "errors" not in body, body
    data: dict[str, Any] = body["data"]
    return data
