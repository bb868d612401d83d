"""`doctor`: what is well, what is not, and the remedy; exit code 1 when anything fails."""

import json
import os
import shutil
import socket
from pathlib import Path

import dagster as dg
import pytest

from embeddings_dagster.defs import tags
from embeddings_dagster_tests.cli.conftest import Command


@dg.op
def work() -> None: ...


@dg.job
def some_job() -> None:
    work()


def found(command: Command, code: int) -> dict[str, dict[str, str]]:
    said = command("doctor", "--json")
    assert said.code == code, said.out
    return {finding["what"]: finding for finding in json.loads(said.out)}


def test_a_project_in_order(project: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(project / ".dagster"))
    findings = found(command, 0)
    for what in (
        "settings",
        "source folders",
        "store",
        "pools",
        "dead runs",
        "model clip",
        "model dino",
        "DAGSTER_HOME",
    ):
        assert findings[what]["level"] == "ok", findings[what]
    assert command("doctor").out.startswith("ok    versions: python ")


def test_a_home_that_is_not_set_is_a_warning_with_the_line_to_type(project: Path, command: Command) -> None:
    finding = found(command, 0)["DAGSTER_HOME"]
    assert (finding["level"], finding["remedy"]) == ("warn", f"export DAGSTER_HOME={project / '.dagster'}")


def test_missing_folders_and_models_fail_and_the_others_are_still_looked_at(project: Path, command: Command) -> None:
    shutil.rmtree(project / "pics")
    file = project / "embeddings.yaml"
    file.write_text(file.read_text().replace("bundled:dino", "./nowhere"))
    findings = found(command, 1)
    assert findings["source folder"]["level"] == "fail"
    assert "mount" in findings["source folder"]["remedy"]
    assert findings["model dino"]["level"] == "fail"
    assert findings["model clip"]["level"] == "ok"


def test_settings_with_a_mistake_are_the_one_finding(project: Path, command: Command) -> None:
    (project / "embeddings.yaml").write_text("dta: x\n")
    assert set(found(command, 1)) == {"settings"}


def test_a_pool_limit_that_differs_and_a_run_without_a_process_are_named(project: Path, command: Command) -> None:
    with dg.DagsterInstance.from_config(str(project / ".dagster")) as instance:
        instance.event_log_storage.set_concurrency_slots("gpu", 7)
        dead = {tags.HOST: socket.gethostname(), tags.PROCESS: f"{os.getpid()}:another process of that id"}
        run = instance.create_run_for_job(some_job, tags=dead, status=dg.DagsterRunStatus.STARTED)
    findings = found(command, 0)
    assert "7" in findings["pool gpu"]["says"]
    assert findings["dead runs"]["says"] == run.run_id[:8]
    with dg.DagsterInstance.from_config(str(project / ".dagster")) as instance:
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED, "it only looks"
