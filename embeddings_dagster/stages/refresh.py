"""Asking the addresses of a catalogue again whether their pictures are still the same.

What changed is in the cache with a new revision; the next discovery finds that, and a run makes anew what it concerns.
A picture that cannot be had any more keeps its last good bytes.
"""

from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_sources import CatalogSource as CatalogSettings
from embeddings_dagster.sources.catalog import CatalogSource
from embeddings_dagster.sources.downloads import Refreshed
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.opened import opened_source

SHOWN = 20  # problems of a refresh, in words


def refreshable(settings: Settings) -> list[str]:
    """The sources whose pictures have addresses."""
    return [name for name, source in settings.sources.items() if isinstance(source, CatalogSettings)]


def refresh_downloads(context: StageContext, source_name: str) -> Refreshed:
    """Ask for every picture of a catalogue that was fetched before; unchanged ones cost a conditional request.

    Raises:
        UnknownItem: there is no such source.
        SourceError: the catalogue or its cache cannot be used.
        Stopped: a stop was asked for; what was found until then is kept.
    """
    source = opened_source(context.settings, source_name, download=context.download)
    if not isinstance(source, CatalogSource):
        return Refreshed()
    found = source.refresh(context.settings.rgb.max_bytes, context.stop)
    context.log(
        f"source {source_name}: {found.asked:,} pictures asked for again: {found.unchanged:,} unchanged, "
        f"{found.changed:,} changed, {found.failed:,} failed"
    )
    for problem in found.problems[:SHOWN]:
        context.log(f"source {source_name}: {problem.location}: {problem.reason}")
    return found
