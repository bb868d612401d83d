"""The generations of an index as its owner handles them: list, roll back, release.

A rollback is a commit like any other: a new generation with an old one's segments, pinned so that no refresh undoes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from embeddings_dagster.errors import IndexUnavailable, UnknownItem
from embeddings_dagster.index import GenerationManifest, Generations
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.held import held
from embeddings_dagster.stages.models import serving
from embeddings_dagster.store import Store


@dataclass(frozen=True)
class GenerationEntry:
    """A line of `embeddings index list`. `kinds` counts segments, `recall` and `worst_decile` are what the worst of
    them was tuned to. `current`: what a search opens now, if its fingerprint is the serving one."""

    model: str
    fp12: str
    generation: int
    created_at: datetime
    run_id: str
    rows: int
    segments: int
    kinds: Mapping[str, int]
    recall: float
    worst_decile: float
    batches: int
    current: bool
    serving: bool
    pinned: bool
    restores: int | None


def index_list(store: Store, model: str) -> list[GenerationEntry]:
    """Every generation of every fingerprint of a model, the serving fingerprint first, newest first."""
    record = serving(store, model)
    fp12 = record.fp12 if record else None
    order = sorted(store.files.folders(f"indexes/{model}"), key=lambda each: (each != fp12, each))
    return [entry for each in order for entry in _entries(Generations(store, model, each), serves=each == fp12)]


def _entries(generations: Generations, *, serves: bool) -> list[GenerationEntry]:
    numbers = generations.numbers()
    manifests = [generations.get(number) for number in reversed(numbers)]
    return [
        GenerationEntry(
            model=generations.model,
            fp12=generations.fp12,
            generation=manifest.version,
            created_at=manifest.created_at,
            run_id=manifest.run_id,
            rows=manifest.rows,
            segments=len(manifest.segments),
            kinds=manifest.kinds,
            recall=manifest.recall,
            worst_decile=manifest.worst_decile,
            batches=len(manifest.consumed),
            current=manifest.version == numbers[-1],
            serving=serves,
            pinned=manifest.pinned,
            restores=manifest.restores,
        )
        for manifest in manifests
    ]


def index_rollback(context: StageContext, model: str, generation: int | None = None) -> GenerationManifest:
    """Bring back a generation (default: the newest before what is shown now that was made of other batches; one that
    was only compacted is no step back), and pin it until `index_release`.

    Acts on the serving fingerprint, which is what searches see.

    Raises:
        IndexUnavailable: the model has no index.
        UnknownItem: there is no such generation, or its files are gone.
        CommitConflict: a refresh committed at the same moment; ask again.
    """
    generations = serving_generations(context.store, model)
    with held(context, generations.folder):
        base = _newest(generations)
        target = _before(generations, base) if generation is None else generation
        wanted = generations.get(target)
        missing = sorted(path for path in generations.referenced(wanted) if context.store.files.stat(path) is None)
        if missing:
            raise UnknownItem(
                f"generation {target} of the index of {model} cannot come back: {missing[0]} was removed (`embeddings "
                "gc` keeps only the newest ones); choose a newer one of `embeddings index list`"
            )
        restores = wanted.restores or wanted.version
        following = replace(wanted, run_id=context.run_id, pinned=True, restores=restores)
        return generations.commit(base, following)


def _before(generations: Generations, base: GenerationManifest) -> int:
    """The generation to go back to.

    Raises:
        UnknownItem: there is none that was made of other batches.
    """
    older = [number for number in generations.numbers() if number < (base.restores or base.version)]
    others = (number for number in reversed(older) if generations.get(number).consumed != base.consumed)
    found = next(others, None)
    if found is None:
        raise UnknownItem(
            f"the index of {generations.model} has no earlier generation that was made of other batches; "
            "`embeddings index list` shows those there are, and any of them may be named"
        )
    return found


def index_release(context: StageContext, model: str) -> GenerationManifest:
    """Let refreshes go on from where the rollback left the index; returns the newest generation, changed or not.

    Raises:
        IndexUnavailable: the model has no index.
        CommitConflict: somebody else committed at the same moment; ask again.
    """
    generations = serving_generations(context.store, model)
    with held(context, generations.folder):
        base = _newest(generations)
        if not base.pinned:
            return base
        return generations.commit(base, replace(base, run_id=context.run_id, pinned=False))


def serving_generations(store: Store, model: str) -> Generations:
    """The index that searches see.

    Raises:
        IndexUnavailable: the model has none yet.
    """
    record = serving(store, model)
    if record is None:
        raise IndexUnavailable(f"model {model!r} has no index yet; make one with `embeddings run`")
    return Generations(store, model, record.fp12)


def _newest(generations: Generations) -> GenerationManifest:
    base = generations.latest()
    if base is None:
        raise IndexUnavailable(f"model {generations.model!r} has no index yet; make one with `embeddings run`")
    return base
