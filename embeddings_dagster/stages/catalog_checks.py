"""The checks of the catalogue, as functions: has it taken in what there is now, does it hold exactly the live rows, and
is its file sound?
"""

import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from embeddings_dagster.catalog import Catalogue, CatalogueManifest, flaws
from embeddings_dagster.stages.catalog_rows import DATASET, offers
from embeddings_dagster.stages.index_checks import HEAL, SHOWN, CheckResult
from embeddings_dagster.stages.index_inputs import Inputs, resolve_inputs, stale_batches
from embeddings_dagster.stages.index_state import index_state
from embeddings_dagster.store import Store

UNUSABLE = "its file is gone, or of an older release"
NONE_YET = "there is none yet"


class CatalogLag(NamedTuple):
    """The newest generation, what there is to take in now, and the batches that differ; `usable`: its file is there."""

    base: CatalogueManifest | None
    inputs: Inputs
    stale: list[str]
    usable: bool

    @property
    def behind(self) -> bool:
        """Whether a refresh would do anything."""
        return bool(self.stale) or (self.base is not None and not self.usable)

    @property
    def why(self) -> str:
        """What keeps it from being current, if anything."""
        if not self.behind:
            return ""
        if self.base is None:
            return NONE_YET
        return f"{len(self.stale)} of {len(self.inputs.states)} batches changed since" if self.usable else UNUSABLE


def catalog_lag(store: Store) -> CatalogLag:
    """How far the catalogue is behind; reads no rows. Raises CorruptFile where that cannot be told."""
    catalogue = Catalogue(store)
    base = catalogue.latest()
    consumed = base.consumed if base else {}
    inputs = resolve_inputs(store, DATASET, consumed)
    return CatalogLag(base, inputs, stale_batches(inputs, consumed), base is not None and catalogue.is_there(base))


@dataclass(frozen=True)
class CatalogStatus:
    """The newest generation. `rows` counts regions, `images` pictures; `why` says what keeps it from being current."""

    generation: int
    rows: int
    images: int
    batches: int
    bytes: int
    committed: datetime
    current: bool
    why: str


def catalog_status(store: Store) -> CatalogStatus | None:
    """How the catalogue stands; None: there is none yet. Raises CorruptFile where that cannot be told."""
    lag = catalog_lag(store)
    base = lag.base
    if base is None:
        return None
    size = len(base.consumed)
    return CatalogStatus(
        base.version, base.rows, base.images, size, base.bytes, base.created_at, not lag.behind, lag.why
    )


def catalog_consumed_is_current(store: Store) -> CheckResult:
    """Whether the newest generation has taken in the present state of every batch. Reads no rows."""
    lag = catalog_lag(store)
    batches = len(lag.inputs.states)
    detail = {**_about(lag.base), "batches": batches, "stale": len(lag.stale), "stale_batches": lag.stale[:SHOWN]}
    return CheckResult(not lag.behind, lag.why or f"all {batches} batches are in", detail=detail)


def catalog_rows_equal_live_rows(store: Store) -> CheckResult:
    """Whether the newest generation holds the winner's rows of every picture, and no other, as of now, in a file whose
    indexes and words are those of its tables.

    Reads raw_images of all batches and a copy of the file, and trusts nothing derived; memory stays bounded.
    """
    catalogue = Catalogue(store)
    base = catalogue.latest()
    inputs = resolve_inputs(store, DATASET, {})
    inputs.require_told()
    store.cache.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(dir=store.cache) as folder, index_state(Path(folder) / "check.sqlite") as state:
        if base is not None:
            copy = Path(folder) / "copy.sqlite"
            shutil.copyfile(catalogue.local(base), copy)
            wrong += flaws(copy)
            with catalogue.open(base) as snapshot:
                placed = snapshot.placed()
                state.load_placed((image, 0, digest, batch, "", number) for image, digest, batch, number in placed)
                wrong += [] if snapshot.count() == base.rows else ["its manifest counts other rows than it holds"]
            state.touch_placed()
        for batch in inputs.states:
            state.offer(batch, offers(inputs, batch))
        found = state.settle(inputs.newest())
    images = base.images if base else 0
    detail = {
        **_about(base),
        "images": images,
        "live_images": images + found.inserted - found.removed,
        "missing": found.inserted,
        "outdated": found.updated,
        "superfluous": found.removed,
    }
    behind = bool(stale_batches(inputs, base.consumed if base else {}))
    if found:
        why = "" if behind else HEAL
        wrong.append(f"{found.inserted} missing, {found.updated} outdated, {found.removed} superfluous{why}")
    described = "; ".join(wrong) or f"{images} pictures, as many as are live"
    return CheckResult(not wrong, described, behind=behind, detail=detail)


def _about(base: CatalogueManifest | None) -> dict[str, object]:
    return {"generation": base.version if base else None, "rows": base.rows if base else 0}
