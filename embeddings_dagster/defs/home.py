"""The project's own Dagster instance: the history that the command line and the UI share."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from filelock import FileLock
from sqlalchemy.exc import DBAPIError

from embeddings_dagster.settings import Settings
from embeddings_dagster.store.trouble import telling, telling_of_sqlite

HOME_VARIABLE = "DAGSTER_HOME"
HOME_NAME = ".dagster"
CONFIG_NAME = "dagster.yaml"
LOCK_NAME = ".tables.lock"

NOT_CAPTURED = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}

CONFIG = """\
# Dagster's own settings; https://docs.dagster.io/deployment/oss/dagster-yaml says what else goes here.
# History lies in SQLite beside this file. Pool limits are set by `embeddings init`, and shown in the UI.
telemetry:
  enabled: false
"""


def project_home(settings: Settings) -> Path:
    """`DAGSTER_HOME` where that is set, else `.dagster` beside the settings."""
    named = os.environ.get(HOME_VARIABLE)
    return Path(named).expanduser().absolute() if named else settings.root / HOME_NAME


def make_home(settings: Settings) -> Path:
    """The home, made if it is not there; a `dagster.yaml` that is there is left alone."""
    home = project_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    config = home / CONFIG_NAME
    if not config.exists():
        config.write_text(CONFIG)
    return home


@contextmanager
def project_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The open instance, for runs in this process: what they print stays on the terminal. Its home is made if need be.

    Everywhere else Dagster captures it, and would swallow a progress bar.

    Raises:
        StorageFailed: there is no room for the history, or no permission.
    """
    home = project_home(settings)
    try:
        with telling(home, "written"):
            make_home(settings)
            with FileLock(home / LOCK_NAME):  # of two processes that make a fresh home's tables at once, one would fail
                ref = InstanceRef.from_dir(str(home), overrides={"compute_logs": NOT_CAPTURED})
                opened = dg.DagsterInstance.from_ref(ref)
        with opened as instance:
            yield instance
    except DBAPIError as error:
        if not isinstance(error.orig, sqlite3.OperationalError):
            raise
        with telling_of_sqlite(home):
            raise error.orig from error
