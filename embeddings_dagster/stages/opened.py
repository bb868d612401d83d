"""The settings' plain values turned into the objects that stages work with."""

import threading

from embeddings_dagster.errors import UnknownItem
from embeddings_dagster.images import DecodeRules, Workshop
from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.sources import Source, open_source


def decode_rules(settings: Settings) -> DecodeRules:
    """All that decides a picture's pixels, and the caps."""
    rgb = settings.rgb
    colour = bytes.fromhex(rgb.background.removeprefix("#"))
    return DecodeRules(
        background=(colour[0], colour[1], colour[2]),
        max_pixels=rgb.max_pixels,
        max_bytes=rgb.max_bytes,
        max_seconds=rgb.max_seconds,
        thumbnail_size=rgb.thumbnail_size,
    )


def workshop(settings: Settings, stop: threading.Event | None = None) -> Workshop:
    """Where a stage decodes its pictures; to be closed when it is done. `stop` ends a decoder that takes long."""
    return Workshop(decode_rules(settings), stop=stop)


def opened_source(
    settings: Settings,
    name: str,
    *,
    download: bool | None = None,
    retry_failed: bool = False,
    fetched_before: bool = False,
    stop: threading.Event | None = None,
) -> Source:
    """The source of that name, for those who read its pictures; see `open_source`.

    Raises:
    UnknownItem: no such source in the settings.
    """
    if name not in settings.sources:
        known = ", ".join(settings.sources) or "none"
        raise UnknownItem(f"no source {name!r} in the settings (there: {known}); add it or correct the name")
    return open_source(
        name, settings, download=download, retry_failed=retry_failed, fetched_before=fetched_before, stop=stop
    )


def default_model(settings: Settings) -> str:
    """The model that is asked where none is named: the first that knows words, else the first.

    Raises:
        UnknownItem: the settings name none.
    """
    if not settings.models:
        raise UnknownItem("the settings name no model; add one under `models`")
    return next((name for name, model in settings.models.items() if model.reads_text), next(iter(settings.models)))


def model_settings(settings: Settings, name: str) -> ModelSettings:
    """Raises:
    UnknownItem: no such model in the settings.
    """
    if name not in settings.spaces:
        known = ", ".join(settings.spaces)
        raise UnknownItem(f"no model {name!r} in the settings (there: {known}); add it or correct the name")
    return settings.spaces[name]
