"""What may be imported, and asked of an index, without loading a machine-learning library."""

import subprocess
import sys

HEAVY = {"torch", "transformers", "faiss"}


MODULES = (
    "index",
    "stages.index",
    "stages.index_versions",
    "stages.index_checks",
    "stages.models",
    "search",
    "exports",
)


def test_importing_loads_no_heavy_library() -> None:
    imports = "; ".join(f"import embeddings_dagster.{module}" for module in MODULES)
    assert not HEAVY & modules_after(imports)


def test_a_refresh_without_change_and_the_checks_load_neither() -> None:
    code = """
import tempfile
from pathlib import Path
from embeddings_dagster.stages.index_checks import index_consumed_is_current, index_rows_equal_live_rows
from embeddings_dagster_tests.stages.index_world import IDENTITY, MODEL, make_world
with tempfile.TemporaryDirectory() as folder:
    world = make_world(Path(folder))
    assert world.refresh().generation is None
    assert index_consumed_is_current(world.store, MODEL, IDENTITY).passed
    assert index_rows_equal_live_rows(world.store, MODEL, IDENTITY).passed
"""
    assert not HEAVY & modules_after(code)


def modules_after(code: str) -> set[str]:
    """What is loaded in a new process that has run `code`."""
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
