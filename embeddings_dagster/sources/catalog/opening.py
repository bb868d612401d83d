"""From a catalogue's settings to the source, with its cache of downloads."""

import threading
from pathlib import Path

from embeddings_dagster import settings_sources as told
from embeddings_dagster.sources.catalog.rows import CatalogRules
from embeddings_dagster.sources.catalog.source import CatalogSource
from embeddings_dagster.sources.downloads import Downloads


def open_catalog(
    name: str,
    path: Path,
    source: told.CatalogSource,
    cache: Path,
    *,
    download: bool,
    retry_failed: bool,
    fetched_before: bool,
    stop: threading.Event | None,
    setting: str,
) -> CatalogSource:
    """The catalogue at `path`, whose pictures are cached in the folder `cache`. The disk is not looked at yet."""
    rules = CatalogRules(
        format=source.format,
        encoding=source.encoding,
        ids=tuple(source.columns.id),
        images=tuple(source.columns.image),
        fields=tuple(sorted(source.fields.items())),
        last=source.repeated == "last",
        prefix=source.prefix,
        text=tuple(source.text),
    )
    downloads = Downloads(
        cache,
        source.download,
        download=download,
        retry_failed=retry_failed,
        fetched_before=fetched_before,
        stop=stop,
    )
    return CatalogSource(name, path, rules, downloads, threads=source.download.concurrency, setting=setting)
