"""The models of the settings: which fingerprint they ask for, which one serves, and how its index stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.index import Generations
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.index_checks import index_consumed_is_current
from embeddings_dagster.stages.models import records
from embeddings_dagster.store import Store


@dataclass(frozen=True)
class IndexStatus:
    """The newest generation of one fingerprint's index. `why` says what keeps it from being current, if anything."""

    generation: int
    rows: int
    segments: int
    batches: int
    committed: datetime
    pinned: bool
    current: bool
    why: str


@dataclass(frozen=True)
class ModelStatus:
    """One fingerprint of a model: `wanted` by the settings, `serving` searches, or both."""

    name: str
    kind: str
    model: str
    fingerprint: str
    dimension: int
    wanted: bool
    serving: bool
    index: IndexStatus | None


def model_statuses(store: Store, settings: Settings, identities: Mapping[str, ModelIdentity]) -> list[ModelStatus]:
    """Every fingerprint that the settings ask for or that was ever indexed, by model; the wanted one first."""
    found = []
    for name in dict.fromkeys([*settings.models, *store.files.folders("models")]):
        identity = identities.get(name)
        registered = records(store, name)
        serves = {record.fingerprint for record in registered if record.serving}
        if identity is not None:
            found.append(_wanted(store, settings, name, identity, identity.fingerprint in serves))
        for record in registered:
            if identity is None or record.fingerprint != identity.fingerprint:
                kind, model = str(record.settings.get("kind", "")), str(record.settings.get("model", ""))
                found.append(
                    ModelStatus(name, kind, model, record.fingerprint, record.dimension, False, record.serving,
                                _index(store, name, record.fp12, ""))
                )  # fmt: skip
    return found


def _wanted(store: Store, settings: Settings, name: str, identity: ModelIdentity, serves: bool) -> ModelStatus:
    check = index_consumed_is_current(store, name, identity)
    index = _index(store, name, identity.fp12, "" if check.passed else check.description)
    model = settings.models[name]
    return ModelStatus(name, model.kind, model.model, identity.fingerprint, identity.dimension, True, serves, index)


def _index(store: Store, name: str, fp12: str, why: str) -> IndexStatus | None:
    manifest = Generations(store, name, fp12).latest()
    if manifest is None:
        return None
    return IndexStatus(
        generation=manifest.version,
        rows=manifest.rows,
        segments=len(manifest.segments),
        batches=len(manifest.consumed),
        committed=manifest.created_at,
        pinned=manifest.pinned,
        current=not why,
        why=why,
    )
