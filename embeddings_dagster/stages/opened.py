"""The settings' plain values turned into the objects that stages work with."""

from embeddings_dagster.errors import UnknownItem
from embeddings_dagster.images import DecodeRules
from embeddings_dagster.settings import ModelSettings, Settings
from embeddings_dagster.sources import Source, open_source


def decode_rules(settings: Settings) -> DecodeRules:
    """All that decides a picture's pixels, and the caps."""
    rgb = settings.rgb
    colour = bytes.fromhex(rgb.background.removeprefix("#"))
    return DecodeRules(
        background=(colour[0], colour[1], colour[2]),
        max_pixels=rgb.max_pixels,
        max_bytes=rgb.max_bytes,
        thumbnail_size=rgb.thumbnail_size,
    )


def opened_source(settings: Settings, name: str) -> Source:
    """Raises:
    UnknownItem: no such source in the settings.
    """
    if name not in settings.sources:
        known = ", ".join(settings.sources) or "none"
        raise UnknownItem(f"no source {name!r} in the settings (there: {known}); add it or correct the name")
    return open_source(name, settings)


def model_settings(settings: Settings, name: str) -> ModelSettings:
    """Raises:
    UnknownItem: no such model in the settings.
    """
    if name not in settings.models:
        known = ", ".join(settings.models)
        raise UnknownItem(f"no model {name!r} in the settings (there: {known}); add it or correct the name")
    return settings.models[name]
