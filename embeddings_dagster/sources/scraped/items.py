"""The record of a scraped item: metadata of known types, and whatever else the item has.

Known are the texts of `TEXTS`, `price` (a float of at least 0) and `image_urls` (a list of texts). All other keys are
kept as they are, within bounds. What is missing, null, NaN or blank is absent. A value that makes no sense is absent
too, and noted; it never costs the picture.
"""

import math
from collections.abc import Mapping
from datetime import datetime

from embeddings_dagster.sources.base import Plain, Record
from embeddings_dagster.sources.lenient_json import clean
from embeddings_dagster.sources.numbers import named_currency, parse_price
from embeddings_dagster.sources.problems import Notes
from embeddings_dagster.sources.times import parse_time

TEXTS = ("title", "currency", "url", "description", "brand", "size", "condition", "seller_id", "category")
REQUIRED = ("title", "url")
IDS = ("item_id", "id")  # the first that is filled names the item
PATHS = ("local_image_paths", "local_image_path")
AMOUNTS, CODES = ("amount", "value", "price"), ("currency_code", "currency")  # of a price that is an object
CURRENCY = "EUR"  # of a price that names none
_TAKEN = frozenset({*TEXTS, *PATHS, "item_id", "price", "image_urls", "scraped_at"})
_BLANK = frozenset({"", "nan", "null", "none"})

LONGEST_ID = 1_024  # characters; it becomes the name of a folder, a key and part of an address
LONGEST_TEXT = 65_536
# Of all further keys of an item together: characters of their names and values, and levels of lists and objects.
LARGEST_REST = 65_536
DEEPEST = 8
_INTEGERS = range(-(2**63), 2**63)  # what SQLite, Arrow and other readers can hold


class ItemRecords:
    """Makes the records of one batch's items; what is wrong with them is told to `notes`."""

    def __init__(self, category: object, scraped_at: datetime | None, notes: Notes) -> None:
        """`category` and `scraped_at`: those of the batch, which an item has unless it says otherwise."""
        self._category = category
        self._scraped_at = scraped_at
        self._notes = notes

    def record(self, item: Mapping[str, object], name: str) -> Record:
        """The record of an item; `name` is how a note names it."""
        metadata: dict[str, Plain] = {}
        for key in TEXTS:
            text = self._text(key, item.get(key), name)
            if key == "category" and text is None:
                text = self._text(key, self._category, name)
            if text is not None:
                metadata[key] = text
            elif key in REQUIRED:
                self._notes.add(f"no {key}", name, f"has no {key}; taken without")
        self._add_price(item.get("price"), metadata, name)
        self._add_urls(item.get("image_urls"), metadata, name)
        self._add_rest(item, metadata, name)
        return Record(metadata, self._time(item.get("scraped_at"), name))

    def _add_price(self, value: object, metadata: dict[str, Plain], name: str) -> None:
        price = None
        if isinstance(value, dict):  # as shops' own interfaces tell it
            code = next((text for key in CODES if (text := self._text(key, value.get(key), name))), None)
            value = next((value[key] for key in AMOUNTS if key in value), value)
            if code is not None:
                metadata.setdefault("currency", code)
        try:
            price = parse_price(value)
        except ValueError as error:
            self._notes.add("price", name, f"price: {error}; taken without")
        if price is not None:
            metadata["price"] = price
            metadata.setdefault("currency", named_currency(value) or CURRENCY)

    def _add_urls(self, value: object, metadata: dict[str, Plain], name: str) -> None:
        urls: list[Plain] = []
        for url in value if isinstance(value, list) else [value]:
            text = self._text("image_urls", url, name)
            if text is not None:
                urls.append(text)
        if urls:
            metadata["image_urls"] = urls

    def _add_rest(self, item: Mapping[str, object], metadata: dict[str, Plain], name: str) -> None:
        left = LARGEST_REST
        for key, value in item.items():
            if key in _TAKEN or (key == "id" and id_text(item.get("item_id")) is None):
                continue
            kept, size = _plain(value, left - len(key), 1)
            if size > left - len(key):
                self._notes.add("rest", name, f"{_shown(key)}: is too large or nested too deeply; taken without")
            elif kept is not None and not (isinstance(kept, str) and not kept.strip()):
                left -= size + len(key)
                metadata.setdefault(clean(key), kept)

    def _time(self, value: object, name: str) -> datetime | None:
        try:
            return parse_time(value) or self._scraped_at
        except ValueError as error:
            self._notes.add("scraped_at", name, f"scraped_at: {error}; that of its batch is taken")
            return self._scraped_at

    def _text(self, key: str, value: object, name: str) -> str | None:
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return number_text(value)
        if not isinstance(value, str):
            self._notes.add(f"type of {key}", name, f"{key}: {_kind(value)} is no text; taken without")
            return None
        text = clean(value).strip()
        if len(text) > LONGEST_TEXT:
            self._notes.add(f"length of {key}", name, f"{key}: {len(text):,} characters; cut to {LONGEST_TEXT:,}")
            text = text[:LONGEST_TEXT]
        return None if text.lower() in _BLANK else text


def item_id(item: Mapping[str, object]) -> str | None:
    """What names an item; None where nothing does that could be a name."""
    return next((text for key in IDS if (text := id_text(item.get(key))) is not None), None)


def id_text(value: object) -> str | None:
    """An id as text: `7`, `7.0` (as tables with blanks write it) and `"7"` are the same."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = number_text(value)
        return text if text is not None and "." not in text and "e" not in text else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    return text if text.lower() not in _BLANK and len(text) <= LONGEST_ID else None


def number_text(value: int | float) -> str | None:
    """A number as text, whole ones without a point; None for NaN and infinity."""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return None
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else str(value)


def _plain(value: object, left: int, depth: int) -> tuple[Plain, int]:
    """A value as every store can hold it, and its size; where that is more than `left`, the value is not all there."""
    if isinstance(value, str):
        return (clean(value), len(value) + 2) if len(value) + 2 <= left else (None, left + 1)
    if isinstance(value, float) and not math.isfinite(value):
        return None, 4
    if isinstance(value, bool | float) or value is None:
        return value, 8
    if isinstance(value, int):
        return (value if value in _INTEGERS else str(value)), 8
    if depth > DEEPEST:
        return None, left + 1
    return _plain_list(value, left, depth) if isinstance(value, list) else _plain_object(value, left, depth)


def _plain_list(value: list[object], left: int, depth: int) -> tuple[Plain, int]:
    out: list[Plain] = []
    size = 2
    for each in value:
        kept, taken = _plain(each, left - size, depth + 1)
        size += taken
        if size > left:
            return None, left + 1
        out.append(kept)
    return out, size


def _plain_object(value: object, left: int, depth: int) -> tuple[Plain, int]:
    out: dict[str, Plain] = {}
    size = 2
    for key, each in value.items() if isinstance(value, dict) else ():
        size += len(key)
        kept, taken = _plain(each, left - size, depth + 1)
        size += taken
        if size > left:
            return None, left + 1
        out[clean(key)] = kept
    return out, size


def _kind(value: object) -> str:
    return {bool: "true or false", list: "a list", dict: "an object"}.get(type(value), f"a {type(value).__name__}")


def _shown(key: str) -> str:
    return repr(clean(key[:60]))
