"""The one entry for Dagster: `build_defs` puts the definitions together, `defs` are those of `embeddings.yaml`.

A mistake in the settings shows when Dagster loads this module, as one error with a line for each mistake.
"""

import dagster as dg

from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.resources import Project, Watch
from embeddings_dagster.engines import Engine
from embeddings_dagster.settings import Settings, load_settings

__all__ = ["build_defs", "defs", "project_defs"]


def build_defs(
    settings: Settings | None = None, *, engine: Engine | None = None, watch: Watch | None = None
) -> dg.Definitions:
    """The definitions of a project.

    `settings`: those of `embeddings.yaml` and the environment where none are given. `engine` is where encoding runs,
    instead of in this process; `watch` looks on while runs execute in this process.

    Raises:
        SettingsError: the settings hold mistakes; one line for each.
    """
    chosen = load_settings() if settings is None else settings
    return project_defs(Project(chosen, engine, watch or Watch()))


defs = build_defs()
