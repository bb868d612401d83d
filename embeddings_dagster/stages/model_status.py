"""The models of the settings: which fingerprint they ask for, which one serves, how its index stands, and how far the
one that is to serve next has come.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.errors import StoreError
from embeddings_dagster.index import Generations
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.index_checks import CheckResult
from embeddings_dagster.stages.models import ModelRecord, held, records
from embeddings_dagster.stages.overlap import FEWEST_ROWS, Overlap, Space, neighbour_overlap
from embeddings_dagster.stages.progress import Progress, index_look, progress
from embeddings_dagster.store import Store


@dataclass(frozen=True)
class IndexStatus:
    """The newest generation of one fingerprint's index. `why` says what keeps it from being current, if anything.

    `kinds` counts segments; `recall` and `worst_decile` are what the worst of them was tuned to, `recall_target` is
    what the settings ask for now.
    """

    generation: int
    rows: int
    segments: int
    batches: int
    committed: datetime
    pinned: bool
    current: bool
    why: str
    kinds: Mapping[str, int]
    recall: float
    worst_decile: float
    recall_target: float


@dataclass(frozen=True)
class Changeover:
    """From the fingerprint that serves to the one that the settings ask for: how far that is, and what it changes.

    `held`: it was switched away from by hand, and does not follow by itself. Where `overlap` is None, `no_overlap` says
    why.
    """

    serving: str
    held: bool
    progress: Progress
    overlap: Overlap | None
    no_overlap: str


@dataclass(frozen=True)
class ModelStatus:
    """One fingerprint of a model: `wanted` by the settings, `serving` searches, or both. One that is wanted while
    another serves has a `changeover`."""

    name: str
    kind: str
    model: str
    fingerprint: str
    dimension: int
    wanted: bool
    serving: bool
    index: IndexStatus | None
    changeover: Changeover | None = None


def model_statuses(store: Store, settings: Settings, identities: Mapping[str, ModelIdentity]) -> list[ModelStatus]:
    """Every fingerprint that the settings ask for or that was ever indexed, by model; the wanted one first."""
    found = []
    for name in dict.fromkeys([*settings.spaces, *store.files.folders("models")]):
        identity = identities.get(name)
        registered = records(store, name)
        if identity is not None and name in settings.spaces:
            serves = next((record for record in registered if record.serving), None)
            found.append(_wanted(store, settings, name, identity, serves))
        for record in registered:
            if identity is None or record.fingerprint != identity.fingerprint:
                kind, model = str(record.settings.get("kind", "")), str(record.settings.get("model", ""))
                found.append(
                    ModelStatus(name, kind, model, record.fingerprint, record.dimension, False, record.serving,
                                _index(store, settings, name, record.fp12, ""))
                )  # fmt: skip
    return found


def _wanted(
    store: Store, settings: Settings, name: str, identity: ModelIdentity, serves: ModelRecord | None
) -> ModelStatus:
    check = index_look(store, name, identity)
    index = _index(store, settings, name, identity.fp12, "" if check.passed else check.description)
    model, serving = settings.spaces[name], serves is not None and serves.fingerprint == identity.fingerprint
    changeover = _changeover(store, name, identity, serves, check) if serves is not None and not serving else None
    return ModelStatus(
        name, model.kind, model.model, identity.fingerprint, identity.dimension, True, serving, index, changeover
    )


def _changeover(
    store: Store, name: str, identity: ModelIdentity, serves: ModelRecord, index: CheckResult
) -> Changeover:
    hold = held(store, name)
    overlap, why = _overlap(store, Space(serves.dataset, serves.dimension),
                            Space(dataset(name, identity), identity.dimension))  # fmt: skip
    is_held = hold is not None and hold.against == identity.fingerprint
    return Changeover(serves.fingerprint, is_held, progress(store, name, identity, index), overlap, why)


def _overlap(store: Store, one: Space, other: Space) -> tuple[Overlap | None, str]:
    try:
        found = neighbour_overlap(store, one, other)
    except StoreError as error:  # what else there is to say of the models is worth more than this
        return None, str(error)
    return found, "" if found else f"fewer than {FEWEST_ROWS} pictures are in both yet"


def _index(store: Store, settings: Settings, name: str, fp12: str, why: str) -> IndexStatus | None:
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
        kinds=manifest.kinds,
        recall=manifest.recall,
        worst_decile=manifest.worst_decile,
        recall_target=settings.index.recall_target,
    )
