"""How far a fingerprint of a model has come, and what it lacks before it can answer for every batch.

Reads what manifests say, no rows, so it costs a few listings at any size.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.stages.embed import UPSTREAM, dataset
from embeddings_dagster.stages.index_checks import CheckResult, index_consumed_is_current
from embeddings_dagster.store import Head, Store

SHOWN = 3  # batches named in a line

NOT_ENCODED = "not encoded yet"
OUT_OF_DATE = "encoded from pictures that changed since"
DAMAGED = "damaged, see `embeddings verify`"


@dataclass(frozen=True)
class Progress:
    """`complete` of `batches` are encoded as their pictures are now, which is `encoded` of `rows` and the `share`.

    `rows` is None for texts, since manifests do not tell how many there will be; the share is then one of batches.
    `missing` has a line for each thing that is to be done yet; empty: nothing is, as far as manifests tell.
    """

    batches: int
    complete: int
    encoded: int
    rows: int | None
    share: float
    missing: tuple[str, ...]


def progress(store: Store, name: str, identity: ModelIdentity, index: CheckResult | None = None) -> Progress:
    """Compare the vectors of a fingerprint with the pictures there are.

    Batches that are empty, and of which nothing was ever encoded, lack nothing. `index` says whether its index has
    taken in what is encoded, where the caller has looked already.
    """
    pictures = store.heads(UPSTREAM).by_batch
    vectors = store.heads(dataset(name, identity)).by_batch
    told = {batch: _state(batch, head, vectors.get(batch, Head())) for batch, head in pictures.items()}
    states = {batch: state for batch, state in told.items() if state is not None}
    complete = [batch for batch, state in states.items() if state == ""]
    rows = None if identity.inputs == "texts" else sum(pictures[batch].counts.ok for batch in states)
    encoded = sum(vectors[batch].counts.total for batch in complete if batch in vectors)
    return Progress(
        batches=len(states),
        complete=len(complete),
        encoded=encoded,
        rows=rows,
        share=_share(encoded, rows) if rows else _share(len(complete), len(states)),
        missing=(*_unmade(states), *_behind(index or index_look(store, name, identity))),
    )


def _state(batch: str, pictures: Head, vectors: Head) -> str | None:
    """What keeps a batch from being complete, empty for nothing; None: there is no such batch, or nothing in it."""
    if pictures.fault or vectors.fault:
        return DAMAGED
    if not pictures.version or not (vectors.version or pictures.counts.total):
        return None
    if not vectors.version:
        return NOT_ENCODED
    consumed = vectors.inputs.get(f"{UPSTREAM}/{batch}", {}).get("content")
    return "" if consumed == pictures.content else OUT_OF_DATE


def _unmade(states: Mapping[str, str]) -> list[str]:
    """A line for each reason, with the first batches that it holds for."""
    by_reason: dict[str, list[str]] = {}
    for batch, state in sorted(states.items()):
        if state:
            by_reason.setdefault(state, []).append(batch)
    return [
        f"{len(found):,} of {len(states):,} batches {reason} ({_named(found)})" for reason, found in by_reason.items()
    ]


def _named(batches: list[str]) -> str:
    more = len(batches) - SHOWN
    return ", ".join(batches[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def index_look(store: Store, name: str, identity: ModelIdentity) -> CheckResult:
    """Whether the index has taken in what is encoded; where that cannot be told it has not, and the reason is said."""
    try:
        return index_consumed_is_current(store, name, identity)
    except CorruptFile as error:
        return CheckResult(False, str(error))


def _behind(index: CheckResult) -> list[str]:
    return [] if index.passed else [f"its index is behind: {index.description}"]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
