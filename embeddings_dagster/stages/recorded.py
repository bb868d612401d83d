"""Recorded failures, over all batches and stages: what could not be done, and why.

One failed image fails once: a stage downstream never saw it, so it is listed where it failed and nowhere else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from embeddings_dagster import ids
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.store import Failure, Store


@dataclass(frozen=True)
class Wanted:
    """Which failures to list; `None` means any."""

    stage: str | None = None
    error_class: str | None = None
    source: str | None = None
    batch: str | None = None
    retryable: bool | None = None

    def takes(self, failure: Failure) -> bool:
        """Whether a failure of a batch that is wanted is one of those asked for."""
        return (
            self.stage in (None, failure.stage)
            and self.error_class in (None, failure.error_class)
            and self.retryable in (None, failure.retryable)
        )

    def takes_batch(self, batch: str) -> bool:
        return self.batch in (None, batch) and self.source in (None, ids.source_of(batch))


@dataclass(frozen=True)
class Recorded:
    """A failure and where it is recorded."""

    source: str
    batch: str
    dataset: str
    version: int
    failure: Failure


def recorded_failures(store: Store, identities: Mapping[str, ModelIdentity], wanted: Wanted) -> Iterator[Recorded]:
    """The failures in the newest complete versions, by dataset and batch, then by image.

    `identities`: the fingerprints that the settings ask for, by model name; failures of others no longer matter.
    """
    datasets = ["raw_images", "rgb_images", *(dataset(model, each) for model, each in identities.items())]
    for place in datasets:
        for batch in filter(wanted.takes_batch, store.batches(place)):
            chain = store.chain(place, batch)
            manifest = chain.latest()
            if manifest is None or not manifest.counts.failed:
                continue
            for failure in chain.failures(manifest):
                if wanted.takes(failure):
                    yield Recorded(ids.source_of(batch), batch, place, manifest.version, failure)
