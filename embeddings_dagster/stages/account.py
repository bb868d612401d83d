"""Counts that reconcile: `total = processed + skipped + failed`, for every stage of every batch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from embeddings_dagster.errors import CountsDoNotReconcile
from embeddings_dagster.store import Failure


@dataclass(frozen=True)
class Account:
    """What one stage did to one batch. Counts are of inputs: images for raw_images, regions further down.

    `processed` were made in this run (of them `reused` without work, from an equal row elsewhere), `skipped` were
    there already, `failed` are recorded as failures now, whether this run tried them or not. `precisions`: how many
    vectors were computed in which precision.
    """

    stage: str
    dataset: str
    batch: str
    total: int
    processed: int
    skipped: int
    failed: int
    removed: int
    reused: int
    version: int
    content: str
    seconds: float
    bytes_written: int
    failures: tuple[Failure, ...] = ()
    precisions: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.total != self.processed + self.skipped + self.failed:
            raise CountsDoNotReconcile(
                f"{self.stage} of {self.batch}: {self.total} inputs, but {self.processed} processed + {self.skipped} "
                f"skipped + {self.failed} failed; this is a bug: please report it with `embeddings verify --json`"
            )

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON, without the failures' text."""
        values = asdict(self)
        del values["failures"]
        return values


def now() -> datetime:
    """The present moment, in UTC, as tables hold it."""
    return datetime.now(UTC)
