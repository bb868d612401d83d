"""The command as it is typed, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = Path(sys.executable).with_name("embeddings")


def environment(**over: str) -> dict[str, str]:
    """This process's environment without what would lead the command to another project."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EMBEDDINGS_")}
    for name in ("DAGSTER_HOME", "COLUMNS", "FORCE_COLOR"):
        kept.pop(name, None)
    return {**kept, **over}


def run(
    *arguments: str, cwd: Path | None = None, timeout: float | None = None, **over: str
) -> subprocess.CompletedProcess[str]:
    """`embeddings ARGUMENTS` to its end; output is captured as text."""
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=cwd,
        env=environment(**over),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
