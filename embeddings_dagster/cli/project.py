"""The project a command works on: its settings, its store, its Dagster home; each opened when first needed."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from embeddings_dagster.cli.terminal import note
from embeddings_dagster.errors import ModelError, SettingsError, UnknownItem
from embeddings_dagster.ids import source_of
from embeddings_dagster.settings import FILE_NAME, Settings, find_settings, load_settings

if TYPE_CHECKING:
    from embeddings_dagster.encoders import ModelIdentity
    from embeddings_dagster.store import Store

# As `defs.home` has them; said again here because that module loads Dagster, and most commands do without.
HOME_VARIABLE = "DAGSTER_HOME"
HOME_NAME = ".dagster"


class Here:
    """Settings and what hangs on them."""

    def __init__(self, file: Path, settings: Settings) -> None:
        self.file = file
        self.settings = settings

    @classmethod
    def open(cls, file: Path | None) -> "Here":
        """The project of a settings file (default: the one in force here).

        Raises:
            SettingsError: there is none, or it holds mistakes.
        """
        found = file or find_settings()
        if found is None:
            raise SettingsError(f"no {FILE_NAME} here or in a folder above; write one with `embeddings init`")
        return cls(found.absolute(), load_settings(found))

    @cached_property
    def store(self) -> "Store":
        from embeddings_dagster.store import Store

        return Store.open(self.settings.data_root, self.settings.cache_root)

    def source_names(self, source: str | None, batch: str | None = None) -> list[str]:
        """The sources of the settings that a run is to take: the one asked for, that of a batch, or all.

        Raises:
            UnknownItem: the settings have none of that name, or none at all.
        """
        names = list(self.settings.sources)
        wanted = source or (source_of(batch) if batch else None)
        if wanted is not None and wanted not in names:
            raise UnknownItem(
                f"no source {wanted!r} in the settings (there: {', '.join(names) or 'none'}); correct the name"
            )
        if not names:
            raise UnknownItem(f"{self.file.name} names no source yet; add a folder of pictures under `sources`")
        return [wanted] if wanted else names

    def require_source(self, name: str | None) -> None:
        """Raises:
        UnknownItem: neither the settings nor the store know a source of that name.
        """
        known = sorted({*self.settings.sources, *self.store.sources()})
        if name is not None and name not in known:
            raise UnknownItem(f"no source {name!r} (there: {', '.join(known) or 'none'}); correct the name")

    def identities(self) -> dict[str, "ModelIdentity"]:
        """The models of the settings that are on this machine; for each other one a note, and no download."""
        from embeddings_dagster.stages.identities import identity

        found = {}
        for name, model in self.settings.spaces.items():
            try:
                found[name] = identity(self.store, name, model, download=False)
            except ModelError as error:
                note(f"model {name} is left out: {error}", style="yellow")
        return found


def here(context: typer.Context) -> Here:
    """The project of a command, as `--settings`, the environment or the folder says."""
    return Here.open(context.obj)
