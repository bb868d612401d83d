"""What an index is to be made from now: the newest complete embeddings of every batch, and the order of batches."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.index import Consumed, GenerationManifest, Generations, read_rows
from embeddings_dagster.stages.index_state import IndexState, OfferRow, Settled
from embeddings_dagster.stages.statistics import Statistics, require_handed_over, without_zeros
from embeddings_dagster.store import Chain, Head, Manifest, Store

KEY_COLUMNS = ("image_id", "region", "input_hash")
PLACED_COLUMNS = ("image_id", "region", "input_hash", "batch")
BLOCK = 65_536  # rows turned into Python objects at a time


@dataclass(frozen=True)
class Inputs:
    """The resolved versions of all batches: whatever is committed meanwhile waits for the next refresh. `offered`: how
    many rows they have by their manifests. `faults`: why what a batch has now cannot be told; such a one stays as it
    was taken in, and holds up no other."""

    store: Store
    dataset: str
    states: Mapping[str, Consumed]
    offered: int
    faults: Mapping[str, str] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """What is made from them."""
        return f"{self.dataset.split('/')[1]}_index" if "/" in self.dataset else "search_catalog"

    def newest(self) -> dict[str, str]:
        """What orders the batches."""
        return {batch: state.newest for batch, state in self.states.items()}

    def resolved(self, batch: str) -> tuple[Chain, Manifest]:
        """A batch, and the version of it that was resolved. Raises MissingFile, CorruptFile."""
        chain = self.store.chain(self.dataset, batch)
        return chain, chain.get(self.states[batch].version)

    def require_told(self) -> None:
        """Raises:
        CorruptFile: what a batch has now cannot be told, for a manifest of it is damaged.
        """
        for fault in self.faults.values():
            raise CorruptFile(fault)

    def digest(self) -> str:
        """A short text that differs when any of the versions does, or their order."""
        text = "\n".join(f"{batch} {state}" for batch, state in sorted(self.states.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def require_taken(self, batch: str, manifest: Manifest, taken: int) -> None:
        """Raises CountsDoNotReconcile: a batch offers other rows than its manifest counts."""
        require_handed_over(self.stage, batch, "rows", manifest.counts.ok, taken)

    def statistics(self, unit: str, placed: int, superseded: int, settled: Settled) -> Statistics:
        """Everything that is offered is placed, or superseded by another batch that has the same image. Of a batch
        whose manifest is damaged nobody can tell what it offers: where there is one, what is found is the total.

        Raises:
            CountsDoNotReconcile: it is neither.
        """
        written = settled.inserted + settled.updated
        superseded = max(superseded, 0) if self.faults else superseded
        return Statistics(
            stage=self.stage,
            where="",
            unit=unit,
            total=placed + superseded if self.faults else self.offered,
            processed=written,
            skipped=placed - written + superseded,
            failed=0,
            reasons=without_zeros(current=placed - written, superseded=superseded),
            removed=settled.removed,
        )


def resolve_inputs(store: Store, dataset: str, consumed: Mapping[str, Consumed]) -> Inputs:
    """Resolve every batch of a dataset of embeddings. Reads no rows, and failures only where a version is new.

    Raises:
        CorruptFile: the ledger, which orders batches, is damaged.
    """
    order = _order(store)
    states, faults = {}, {}
    offered = 0
    for batch, head in store.heads(dataset).by_batch.items():
        before = consumed.get(batch)
        if head.fault:
            faults[batch] = head.fault
            if before is not None:
                states[batch] = before
        elif head.version:
            known = before is not None and (before.version, before.content) == (head.version, head.content)
            failed = before.failed if before and known else _failed(store, dataset, batch, head)
            states[batch] = Consumed(head.version, head.content, failed, order.get(batch, ""))
            offered += head.counts.ok
    return Inputs(store, dataset, states, offered, faults)


def _failed(store: Store, dataset: str, batch: str, head: Head) -> str:
    """The hash of the images of which a region has failed; empty where none has."""
    if not head.counts.failed:
        return ""
    chain = store.chain(dataset, batch)
    return _hash(failed_images(chain, chain.get(head.version)))


def _order(store: Store) -> dict[str, str]:
    """When each batch was scraped, else first seen; batches that no ledger knows are older than all others."""
    order = {}
    for source in store.sources():
        manifest = store.ledger(source).latest()
        for batch, entry in (manifest.batches if manifest else {}).items():
            order[batch] = _text(entry.scraped_at or entry.first_seen)
    return order


def _text(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds") if moment else ""


def failed_images(chain: Chain, manifest: Manifest) -> set[str]:
    """The images of which a region has failed."""
    return {failure.image_id for failure in chain.failures(manifest)}


def _hash(images: set[str]) -> str:
    return hashlib.sha256("\n".join(sorted(images)).encode()).hexdigest() if images else ""


def take_offers(inputs: Inputs, batch: str, state: IndexState) -> None:
    """Read the keys of one batch into the state. Raises CountsDoNotReconcile: its manifest counts other rows."""
    chain, manifest = inputs.resolved(batch)
    failed = failed_images(chain, manifest)

    def rows() -> Iterator[OfferRow]:
        for part in chain.scan(manifest, KEY_COLUMNS):
            columns = [part.column(name).to_pylist() for name in KEY_COLUMNS]
            for image_id, region, input_hash in zip(*columns, strict=True):
                yield image_id, region, input_hash, image_id not in failed

    inputs.require_taken(batch, manifest, state.offer(batch, rows()))


def take_generation(generations: Generations, manifest: GenerationManifest, state: IndexState) -> None:
    """Read the live rows of a generation into the state, as placed; all of them are planned again."""
    for entry in manifest.segments:
        table, live = read_rows(generations.store, generations.folder, entry, (*PLACED_COLUMNS, "label"))
        for block in table.filter(pa.array(live)).to_batches(BLOCK):
            columns = [block.column(name).to_pylist() for name in (*PLACED_COLUMNS, "label")]
            state.load_placed((*row[:4], entry.uuid, row[4]) for row in zip(*columns, strict=True))
    state.touch_placed()


def stale_batches(inputs: Inputs, consumed: Mapping[str, Consumed]) -> list[str]:
    """Batches whose present state is not the one consumed, gone ones included, sorted."""
    names = inputs.states.keys() | consumed.keys()
    return sorted(name for name in names if not _same(inputs.states.get(name), consumed.get(name)))


def _same(one: Consumed | None, other: Consumed | None) -> bool:
    return one is not None and other is not None and one.same_as(other)
