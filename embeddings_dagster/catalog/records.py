"""What goes into the catalogue, and what comes out of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from embeddings_dagster.ids import Key


class Region(NamedTuple):
    """A row's place in its picture: `box` is x, y, w, h in pixels (None: the whole picture), `text` is what it says."""

    region: int
    box: tuple[int, int, int, int] | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with its record and all its regions, region 0 among them. `digest` tells one state of it from
    another; width and height are in pixels."""

    image_id: str
    batch: str
    item_id: str
    ordinal: int
    location: str
    width: int
    height: int
    scraped_at: datetime | None
    metadata: Mapping[str, Any]
    regions: tuple[Region, ...]
    digest: str


class Cursor(NamedTuple):
    """Where a page ends: the next one begins after it. `score` is set where hits are ranked."""

    image_id: str
    region: int
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A live row: a picture (region 0) or a part of it, with all that is known of it. `score`: how well it matches the
    words that were asked for, larger is better."""

    image_id: str
    region: int
    source: str
    batch: str
    item_id: str
    ordinal: int
    location: str
    width: int
    height: int
    box: tuple[int, int, int, int] | None
    scraped_at: datetime | None
    title: str | None
    text: str | None
    metadata: Mapping[str, Any]
    score: float | None = None

    @property
    def key(self) -> Key:
        return Key(self.image_id, self.region)

    @property
    def cursor(self) -> Cursor:
        """What `find(after=…)` takes to go on behind this row."""
        return Cursor(self.image_id, self.region, self.score)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class Facet(NamedTuple):
    """A value of a field and how many rows have it; `value` is in its commonest spelling."""

    value: str
    rows: int


class Field(NamedTuple):
    """A field that records carry: its name, and how many values of it are numbers, moments and texts.

    A list has several values; the same value is counted once a picture.
    """

    name: str
    numbers: int
    times: int
    texts: int
