"""What one stage did to one batch."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from embeddings_dagster.stages.statistics import Statistics, without_zeros
from embeddings_dagster.store import Failure


@dataclass(frozen=True, kw_only=True)
class Account(Statistics):
    """The statistics of one stage of the batch `where`, and what was committed. Counts are of inputs: images for
    raw_images, regions or texts further down.

    Of those processed, `reused` cost no work: an equal row was there elsewhere. `precisions`: how many vectors were
    computed in which precision.
    """

    dataset: str
    reused: int
    version: int
    content: str
    bytes_written: int
    failures: tuple[Failure, ...] = ()
    precisions: Mapping[str, int] = field(default_factory=dict)

    @property
    def batch(self) -> str:
        return self.where

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON, without the failures' text."""
        values = asdict(self)
        del values["failures"]
        return {**values, "batch": self.batch}


def reasons_of(skipped: int, failures: tuple[Failure, ...]) -> dict[str, int]:
    """Why inputs of a batch were skipped or failed."""
    return without_zeros(current=skipped) | dict(sorted(Counter(each.error_class for each in failures).items()))


def now() -> datetime:
    """The present moment, in UTC, as tables hold it."""
    return datetime.now(UTC)
