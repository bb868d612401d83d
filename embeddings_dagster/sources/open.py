"""From a source's settings to the source."""

from embeddings_dagster.settings import Settings
from embeddings_dagster.sources.base import Source
from embeddings_dagster.sources.folder import FolderSource


def open_source(name: str, settings: Settings) -> Source:
    """The source called `name` in the settings. The disk is not looked at yet.

    Raises:
        KeyError: the settings have no such source.
    """
    source = settings.sources[name]
    return FolderSource(
        name,
        settings.source_path(name),
        prefix=source.prefix,
        hidden=source.hidden,
        follow_symlinks=source.follow_symlinks,
        setting=settings.place("sources", name, "path"),
    )
