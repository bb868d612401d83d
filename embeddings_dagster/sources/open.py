"""From a source's settings to the source."""

import threading

from embeddings_dagster import settings_sources as told
from embeddings_dagster.settings import Settings
from embeddings_dagster.sources.base import Source
from embeddings_dagster.sources.comics import ComicsSource
from embeddings_dagster.sources.folder import FolderSource
from embeddings_dagster.sources.scraped import ScrapedSource


def open_source(
    name: str,
    settings: Settings,
    *,
    download: bool | None = None,
    retry_failed: bool = False,
    fetched_before: bool = False,
    stop: threading.Event | None = None,
) -> Source:
    """The source called `name` in the settings. The disk is not looked at yet, nothing is fetched.

    `download`: whether a picture that is not in the cache may be fetched when it is read (None: as the settings say);
    `retry_failed`: whether also one that was refused before; `fetched_before`: what is read was read once, so that what
    has to be fetched anew may be another picture, and the next scan says so; `stop` ends reading that waits for a
    server.

    Raises:
        KeyError: the settings have no such source.
    """
    source = settings.sources[name]
    path, setting = settings.source_path(name), settings.place("sources", name, "path")
    if isinstance(source, told.FolderSource):
        return FolderSource(
            name,
            path,
            prefix=source.prefix,
            hidden=source.hidden,
            follow_symlinks=source.follow_symlinks,
            setting=setting,
        )
    if isinstance(source, told.ScrapedSource):
        return ScrapedSource(name, path, prefix=source.prefix, text=source.text, setting=setting)
    if isinstance(source, told.ComicsSource):
        return ComicsSource(
            name,
            path,
            images=settings.resolve(source.images) if source.images else None,
            cache=settings.cache_root,
            prefix=source.prefix,
            books=source.batches == "book",
            place=lambda key: settings.place("sources", name, key),
        )
    # Here, since it loads an HTTP client, which the other kinds do without.
    from embeddings_dagster.sources.catalog import open_catalog

    return open_catalog(
        name,
        path,
        source,
        settings.image_cache(name),
        download=source.download.enabled if download is None else download,
        retry_failed=retry_failed,
        fetched_before=fetched_before,
        stop=stop,
        setting=setting,
    )
