"""The sample's named searches, and how good their answers are: the share of what is relevant among the first; pure.

An image is known by the words of its name and keywords (emoji), or of its title and category (shop, fashion); pages of
comics are named one by one.
"""

import csv
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embeddings_dagster.demo.sample import Sample

SEARCHES = "searches.json"
FIRST_TEN = 10

Words = Mapping[str, frozenset[str]]  # image id -> what it is known by


@dataclass(frozen=True)
class NamedSearch:
    """A question in the keywords of `SearchService.search` (a picture's path relative to the sample's folder, `ids` for
    several known images), or of `recommend`; what is relevant; and the least precision that passes."""

    name: str
    ask: Mapping[str, Any]
    relevant: Mapping[str, Any]
    floor: float

    @property
    def asked_with(self) -> tuple[str, ...]:
        """The images that it is asked with, which are no answers."""
        one = self.ask.get("image_id")
        return (*([one] if one else []), *self.ask.get("ids", ()), *self.ask.get("recommend", ()))


@dataclass(frozen=True)
class Judged:
    """A search with its precision among the first `of`: ten, or as many as there are relevant images."""

    search: NamedSearch
    precision: float
    of: int
    shown: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        return self.precision >= self.search.floor - 1e-9


def read_searches(sample: Sample) -> list[NamedSearch]:
    """The searches that come with the sample."""
    return [NamedSearch(**entry) for entry in json.loads((sample.folder / SEARCHES).read_text(encoding="utf-8"))]


def read_words(sample: Sample) -> Words:
    """What each picture of the sample is known by."""
    labels = json.loads((sample.folder / "labels.json").read_text(encoding="utf-8"))
    found = {f"emoji:{path}": _words(each["name"], *each["keywords"]) for path, each in labels.items()}
    with (sample.folder / "shop" / "products.csv").open(newline="", encoding="utf-8") as file:
        found |= {f"shop:{row['product_id']}": _words(row["title"], row["category"]) for row in csv.DictReader(file)}
    for path in sorted((sample.folder / "scraped").glob("*/batch.json")):
        found |= _fashion(path)
    return found


def judge(search: NamedSearch, image_ids: Sequence[str], words: Words) -> Judged:
    """How many of the images that were found are relevant, of the first ten, or as many as are relevant at all."""
    wanted = relevant(search, words)
    count = min(FIRST_TEN, len(wanted))
    hits = sum(image_id in wanted for image_id in image_ids[:count])
    return Judged(search, hits / count, count, tuple(image_ids[:3]))


def relevant(search: NamedSearch, words: Words) -> Collection[str]:
    """The images that should be found: those named, or all that are known by one of the words, of a source or folder
    where that is said. The images that it is asked with are not among them."""
    said = search.relevant
    if "ids" in said:
        return set(said["ids"])
    start = f"{said['source']}:{said.get('folder', '')}" if "source" in said else ""
    found = {
        image_id
        for image_id, its in words.items()
        if image_id.startswith(start) and ("words" not in said or its & set(said["words"]))
    }
    return found - set(search.asked_with)


def _fashion(path: Path) -> dict[str, frozenset[str]]:
    items = json.loads(path.read_text(encoding="utf-8"))["items"]
    return {f"fashion:{item['item_id']}": _words(item["title"], "fashion") for item in items}


def _words(*texts: str) -> frozenset[str]:
    return frozenset(word for text in texts for word in re.findall(r"[\w-]+", text.lower()))
