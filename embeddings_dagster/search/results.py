"""What a search answers: hits with all that is needed to find the picture and to tell where the answer comes from."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class SearchHit:
    """One answer; `rank` counts from 1, `score` is the inner product (the cosine, where vectors have norm 1).

    `location` is where the picture lies, a path or a URL, or None where no one knows any more. `run_id` is the run that
    committed the generation.
    """

    rank: int
    image_id: str
    region: int
    score: float
    source: str
    batch: str
    location: str | None
    model: str
    fingerprint: str
    generation: int
    run_id: str


@dataclass(frozen=True)
class Results:
    """The answer to one query, all of it from one generation. `query` says what was asked, in words."""

    query: str
    model: str
    fingerprint: str
    generation: int
    run_id: str
    created_at: str
    rows: int
    seconds: float
    hits: tuple[SearchHit, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)
