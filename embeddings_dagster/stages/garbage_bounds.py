"""The bounds that the settings ask for, and the fingerprints that they have no more."""

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.garbage_plan import Bounds
from embeddings_dagster.stages.models import records
from embeddings_dagster.store import Store

DIGITS = 12  # of a fingerprint, in the name of a folder


class Former(NamedTuple):
    """A fingerprint that no model of the settings has any more, and that serves no search, with what it takes up."""

    model: str
    fp12: str
    files: int
    bytes: int

    @property
    def name(self) -> str:
        return f"{self.model}/{self.fp12}"


def bounds_of(settings: Settings) -> Bounds:
    """What `gc` leaves, by the settings."""
    return Bounds(timedelta(days=settings.gc.older_than_days), settings.gc.keep)


def former_fingerprints(store: Store, settings: Settings, identities: Mapping[str, ModelIdentity]) -> list[Former]:
    """Those of which there are vectors or an index. None of a model of the settings whose identity is not known, for it
    may be that one; and never the one that serves."""
    there = {
        (model, fp12)
        for top in ("embeddings", "indexes")
        for model in store.files.folders(top)
        for fp12 in store.files.folders(f"{top}/{model}")
    }
    found = []
    for model, fp12 in sorted(there):
        if model in settings.spaces and model not in identities:
            continue
        wanted = {identities[model].fp12} if model in identities else set()
        serving = {record.fp12 for record in records(store, model) if record.serving}
        if len(fp12) == DIGITS and fp12 not in wanted | serving:
            stats = [stat for top in ("embeddings", "indexes") for _, stat in store.files.walk(f"{top}/{model}/{fp12}")]
            found.append(Former(model, fp12, len(stats), sum(stat.size for stat in stats)))
    return [each for each in found if each.files]
