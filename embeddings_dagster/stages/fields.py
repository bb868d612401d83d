"""Metadata that the settings name, as typed columns `meta_<name>` of `raw_images`.

The metadata itself stays as it is beside them: a value that does not fit its type is null in its column, and loses
nothing.
"""

import hashlib
import json
from collections.abc import Callable, Mapping

from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_sources import RecordSource
from embeddings_dagster.sources.numbers import parse_number
from embeddings_dagster.sources.times import parse_time
from embeddings_dagster.store.tables import meta_column

Fields = Mapping[str, str]  # type by name, as `RecordSource.fields`

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_INTEGERS = range(-(2**63), 2**63)


def fields_of(settings: Settings, source: str) -> Fields:
    """The fields that the settings name for a source; none where they do not know it."""
    told = settings.sources.get(source)
    return told.fields if isinstance(told, RecordSource) else {}


def fields_recipe(fields: Fields) -> str:
    """The version of the typed columns, which is the `recipe` of `raw_images`; empty where there are none."""
    return hashlib.sha256(json.dumps(sorted(fields.items())).encode()).hexdigest()[:12] if fields else ""


def columns_asked(settings: Settings, source: str) -> str | None:
    """The version of the typed columns that `raw_images` of a source should have; None where nobody asks for any."""
    return fields_recipe(fields_of(settings, source)) if source in settings.sources else None


def typed_columns(metadata: Mapping[str, object], fields: Fields) -> dict[str, object]:
    """The values of the typed columns of one picture."""
    return {meta_column(name): typed(metadata.get(name), kind) for name, kind in fields.items()}


def typed(value: object, kind: str) -> object:
    """A value as text, number, integer, boolean or time; None where it is none of that type."""
    try:
        return None if value is None else _TYPED[kind](value)
    except ValueError:
        return None


def plain_text(text: str) -> str:
    """Text that can be stored: half a surrogate pair, which JSON lets through, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return plain_text(value)
    return json.dumps(value) if isinstance(value, bool | int | float) else None


def _integer(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value in _INTEGERS else None
    number = parse_number(value)
    return int(number) if number is not None and number.is_integer() and int(number) in _INTEGERS else None


def _boolean(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    return _WORDS.get(str(value).strip().lower()) if isinstance(value, str | int) else None


_TYPED: Mapping[str, Callable[[object], object]] = {
    "text": _text,
    "number": parse_number,
    "integer": _integer,
    "boolean": _boolean,
    "time": parse_time,
}
