"""What a search answers: hits with all that is needed to find the picture and to tell where the answer comes from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from embeddings_dagster.catalog import Facet


@dataclass(frozen=True)
class ModelScore:
    """What a model says of a hit: the inner product (the cosine, where vectors have norm 1), or None where its index
    has no such row, which counts as 0. `run_id` is the run that committed the generation."""

    model: str
    score: float | None
    fingerprint: str
    generation: int
    run_id: str


@dataclass(frozen=True)
class OtherRegion:
    """Another region of the image, which was found as well."""

    region: int
    score: float


@dataclass(frozen=True)
class SearchHit:
    """One answer; `rank` counts from 1, `score` is the sum of the models' `scores`, each by its share.

    `location` is where the picture lies, a path or a URL, or None where no one knows any more. `title`, `text`, `box`
    (x, y, w, h in pixels) and `metadata` are those of its record, None where the catalogue has none. `others`: regions
    of the image that were found after this one; `folded`: images that are copies of it, or nearly.
    """

    rank: int
    image_id: str
    region: int
    score: float
    scores: tuple[ModelScore, ...]
    source: str
    batch: str
    location: str | None
    title: str | None = None
    text: str | None = None
    box: tuple[int, int, int, int] | None = None
    metadata: Mapping[str, Any] | None = None
    others: tuple[OtherRegion, ...] = ()
    folded: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The model that answered; of several, the first."""
        return self.scores[0].model

    @property
    def fingerprint(self) -> str:
        """Of that model."""
        return self.scores[0].fingerprint

    @property
    def generation(self) -> int:
        """Of that model's index."""
        return self.scores[0].generation

    @property
    def run_id(self) -> str:
        """The run that committed that generation."""
        return self.scores[0].run_id


@dataclass(frozen=True)
class Answering:
    """A model that answered, by its `weight` of all: which one exactly, and from which generation of its index."""

    model: str
    weight: float
    fingerprint: str
    generation: int
    run_id: str
    created_at: str
    rows: int


@dataclass(frozen=True)
class Results:
    """The answer to a question, all of it from one generation of each model's index and one of the catalogue.

    `query` says what was asked, in words. `matching`: how many rows of the index fulfil the conditions; of several
    indexes, of the one with most. `facets`: the values of the fields asked for among the records that do. `catalogue`:
    its generation, None where there is none. `after`: where the next page begins, None where this is the last.
    """

    query: str
    models: tuple[Answering, ...]
    matching: int
    catalogue: int | None
    facets: Mapping[str, tuple[Facet, ...]]
    seconds: float
    hits: tuple[SearchHit, ...]
    after: str | None = None

    @property
    def model(self) -> str:
        """The model that answered; of several, the first."""
        return self.models[0].model

    @property
    def fingerprint(self) -> str:
        """Of that model."""
        return self.models[0].fingerprint

    @property
    def generation(self) -> int:
        """Of that model's index."""
        return self.models[0].generation

    @property
    def rows(self) -> int:
        """How many rows that index has."""
        return self.models[0].rows

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        facets = {name: [facet._asdict() for facet in values] for name, values in self.facets.items()}
        return {**asdict(self), "facets": facets}
