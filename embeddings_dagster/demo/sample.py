"""The collections and questions in `data/sample`, which come with the checkout and not with the installed package."""

import json
from dataclasses import dataclass
from pathlib import Path

from embeddings_dagster.errors import SourceError

FOLDER = Path("data") / "sample"
QUERIES = "queries.json"
PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Query:
    """A text, and the ids of the images of which one should be among the first found."""

    text: str
    expected: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """`folder`: where the collections lie; `checkout`: where all of this lies."""

    checkout: Path
    folder: Path
    queries: tuple[Query, ...]


def find_sample(start: Path | None = None) -> Sample:
    """The sample under `start` (default: where the command was typed), else in the checkout that this code lies in.

    Raises:
        SourceError: there is none; the message says how to get it.
    """
    places = [start or Path.cwd(), PACKAGE.parent]
    checkout = next((each.absolute() for each in places if (each / FOLDER / QUERIES).is_file()), None)
    if checkout is None:
        raise SourceError(
            f"the demo's pictures are not here: {places[0] / FOLDER} is missing. They come with the source: clone the "
            "repository and run `make demo` in it (or `embeddings demo` from its folder)"
        )
    folder = checkout / FOLDER
    entries = json.loads((folder / QUERIES).read_text(encoding="utf-8"))
    queries = tuple(Query(entry["query"], tuple(entry["expected"])) for entry in entries)
    return Sample(checkout, folder, queries)
