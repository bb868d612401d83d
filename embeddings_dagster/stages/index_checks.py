"""The checks of an index, as functions: does it hold exactly the live rows, and has it taken in what there is now?"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.index import GenerationManifest, Generations
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.index_inputs import Inputs, resolve_inputs, stale_batches, take_generation, take_offers
from embeddings_dagster.stages.index_state import index_state
from embeddings_dagster.store import Store

SHOWN = 20  # batches named in a detail
HEAL = ", though nothing changed since it was made; `embeddings run --force` plans every row anew"


@dataclass(frozen=True)
class CheckResult:
    """`detail` holds plain values for JSON. `pinned`: the index was rolled back, and is behind on purpose. `behind`:
    batches changed since it took them in, so that what is missing is not lost."""

    passed: bool
    description: str
    pinned: bool = False
    behind: bool = False
    detail: Mapping[str, object] = field(default_factory=dict)


class Lag(NamedTuple):
    """The newest generation, what there is to take in now, and the batches that differ between the two."""

    base: GenerationManifest | None
    inputs: Inputs
    stale: list[str]


def index_lag(store: Store, model: str, identity: ModelIdentity) -> Lag:
    """How far an index is behind. Raises CorruptFile where that cannot be told."""
    base = Generations(store, model, identity.fp12).latest()
    consumed = base.consumed if base else {}
    inputs = resolve_inputs(store, dataset(model, identity), consumed)
    return Lag(base, inputs, stale_batches(inputs, consumed))


def index_consumed_is_current(store: Store, model: str, identity: ModelIdentity) -> CheckResult:
    """Whether the newest generation has taken in the present state of every batch. Reads no rows."""
    base, inputs, stale = index_lag(store, model, identity)
    inputs.require_told()
    detail = {**_about(base), "batches": len(inputs.states), "stale": len(stale), "stale_batches": stale[:SHOWN]}
    if not stale:
        return CheckResult(True, f"all {len(inputs.states)} batches are in", _pinned(base), detail=detail)
    description = f"{len(stale)} batches changed since, of {len(inputs.states)}{_why(base)}"
    return CheckResult(False, description, _pinned(base), detail=detail)


def index_rows_equal_live_rows(store: Store, model: str, identity: ModelIdentity) -> CheckResult:
    """Whether the newest generation holds the winner's rows of every image, and no other, as of now.

    Reads the keys of all batches and segments, and trusts nothing derived; memory stays bounded.
    """
    generations = Generations(store, model, identity.fp12)
    base = generations.latest()
    inputs = resolve_inputs(store, dataset(model, identity), {})
    inputs.require_told()
    store.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.cache) as folder, index_state(Path(folder) / "check.sqlite") as state:
        if base is not None:
            take_generation(generations, base, state)
        for batch in inputs.states:
            take_offers(inputs, batch, state)
        found = state.settle(inputs.newest())
    rows = base.rows if base else 0
    wanted = rows + found.inserted - found.removed
    detail = {
        **_about(base),
        "rows": rows,
        "live_rows": wanted,
        "missing": found.inserted,
        "outdated": found.updated,
        "superfluous": found.removed,
    }
    if not found:
        return CheckResult(True, f"{rows} rows, as many as are live", _pinned(base), detail=detail)
    difference = f"{found.inserted} missing, {found.updated} outdated, {found.removed} superfluous"
    behind = bool(stale_batches(inputs, base.consumed if base else {}))
    why = _why(base) if behind or _pinned(base) else HEAL
    description = f"{rows} rows for {wanted} live ones: {difference}{why}"
    return CheckResult(False, description, _pinned(base), behind, detail)


def _about(base: GenerationManifest | None) -> dict[str, object]:
    return {"generation": base.version if base else None, "pinned": _pinned(base)}


def _pinned(base: GenerationManifest | None) -> bool:
    return base is not None and base.pinned


def _why(base: GenerationManifest | None) -> str:
    if base is None:
        return "; there is no generation yet"
    return "; it is pinned by a rollback, `embeddings index rollback --release` lets it follow" if base.pinned else ""
