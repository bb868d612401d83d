"""A ledger made anew from what was made of it: every batch keeps its pictures, none moves, none is removed.

`raw_images` knows the pictures of every batch, and the hash of what the ledger said of each; a look at the source tells
the rest, such as times of files, and that hash proves it. Of a row that cannot be proven only what raw_images knows is
kept, and the next discovery finds it changed; one of which nothing is known but that it was there is read as it is now.
Places of pictures that had been removed are lost with the file, and so are pictures that nothing names which can be
read: of these nothing is left, and the next discovery finds them as new.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster import ids
from embeddings_dagster.catalog import Catalogue
from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.index import read_rows
from embeddings_dagster.sources import SCAN
from embeddings_dagster.stages import raw
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.fields import fields_of
from embeddings_dagster.stages.opened import opened_source
from embeddings_dagster.stages.repair_chains import clear_ledger, drop_unreadable
from embeddings_dagster.stages.repair_rows import sound_base, sound_rows
from embeddings_dagster.stages.verify import indexes
from embeddings_dagster.store import Ledger, LedgerManifest, Store
from embeddings_dagster.store.tables import LEDGER

Row = dict[str, object]
Place = tuple[str, str, int]  # batch, local id, ordinal; the batch is empty where the ledger cuts batches itself
FACTS = ("item_id", "location", "size", "mtime_ns", "etag", "record_hash")


@dataclass(frozen=True)
class Rebuilt:
    """What became of a ledger: batches that were made anew, those of them that are proven to be as they were, and how
    many pictures of which batch nothing names any more."""

    batches: tuple[str, ...]
    proven: tuple[str, ...]
    unnamed: Mapping[str, int]
    cleared: tuple[str, ...]


def repair_ledger(context: StageContext, source: str) -> Rebuilt:
    """Make anew what of a ledger is damaged or lost. The source is looked at, and nothing of it is taken in.

    Raises:
        SourceError: the source cannot be listed; nothing was changed.
        CommitConflict: a discovery was under way; repeat it.
    """
    store, ledger = context.store, context.store.ledger(source)
    base = _newest_readable(ledger)
    used = _used_versions(store, source)
    every = {*(base.batches if base else ()), *used}
    wanted = sorted(batch for batch in every if _is_lost(ledger, store, base, batch, used.get(batch, (0, ""))))
    top = max([*ledger.versions.numbers(), *(version for version, _ in used.values())], default=0)
    proven, unnamed, tables = [], {}, {}
    if wanted:
        scan = _Scan.of(context, source)
        for batch in wanted:
            had = _count(store, base, batch, used.get(batch, (0, ""))[0])
            tables[batch] = _table(context, ledger, scan, batch, had)
            unnamed[batch] = had - tables[batch].column("removed_at").null_count
        # Numbers go on above those that were lost, so that no state is taken for another of the same number.
        below = base or LedgerManifest(source, top, None, datetime.now(UTC), context.run_id, {})
        dates = {batch: scan.scraped_at[batch] for batch in wanted if batch in scan.scraped_at}
        below = replace(below, version=max(top, 1))
        made = ledger.commit(below, tables, run_id=context.run_id, scraped_at=dates, anew=True)
        proven = [batch for batch in wanted if batch in used and made.batches[batch].source_state == used[batch][1]]
    drop_unreadable(store, ledger.versions, ledger.get)
    short = {batch: count for batch, count in unnamed.items() if count > 0}
    return Rebuilt(tuple(wanted), tuple(proven), short, tuple(clear_ledger(store, ledger)))


def _newest_readable(ledger: Ledger) -> LedgerManifest | None:
    for number in reversed(ledger.versions.numbers()):
        try:
            return ledger.get(number)
        except CorruptFile:
            continue
    return None


def _used_versions(store: Store, source: str) -> dict[str, tuple[int, str]]:
    """The ledger's version and state that `raw_images` of each batch of a source was made from."""
    found = {}
    for batch in store.batches(raw.STAGE):
        manifest = sound_base(store.chain(raw.STAGE, batch)).manifest if ids.source_of(batch) == source else None
        if manifest is not None:
            used = manifest.inputs.get(f"sources/{source}", {})
            version = used.get("version")
            found[batch] = (version if isinstance(version, int) else 0, str(used.get("content", "")))
    return found


def _is_lost(ledger: Ledger, store: Store, base: LedgerManifest | None, batch: str, used: tuple[int, str]) -> bool:
    """Whether the ledger's rows of a batch cannot be read, or are older than those that `raw_images` was made from."""
    entry = base.batches.get(batch) if base else None
    if base is None or entry is None:
        return True
    try:
        store.checked.check(ledger.path(entry.file), entry.sha256, again=True)
    except CorruptFile:
        return True
    return used[0] > base.version and used[1] != entry.source_state


@dataclass(frozen=True)
class _Scan:
    """What the source shows now: the facts of each picture, by its place, and when batches were scraped."""

    own_batches: bool
    facts: Mapping[Place, Row]
    scraped_at: Mapping[str, datetime]

    @classmethod
    def of(cls, context: StageContext, source: str) -> "_Scan":
        """Nothing, where the settings have forgotten the source: then nothing of it will be read again, either."""
        if source not in context.settings.sources:
            return cls(False, {}, {})
        opened = opened_source(context.settings, source)
        scan = opened.scan()
        rows = scan.entries.select([name for name in SCAN.names if name in LEDGER.names]).to_pylist()
        own = opened.own_batches
        return cls(own, {_place(row, own=own): row for row in rows}, scan.scraped_at)


def _place(row: Mapping[str, object], *, own: bool) -> Place:
    return (str(row["batch"]) if own else "", str(row["local_id"]), int(str(row["ordinal"])))


def _count(store: Store, base: LedgerManifest | None, batch: str, used: int) -> int:
    """How many live pictures a batch had: by the ledger's manifest, or by what was made of a later version of it."""
    if base is not None and batch in base.batches and used <= base.version:
        return base.batches[batch].live
    manifest = sound_base(store.chain(raw.STAGE, batch)).manifest
    return manifest.counts.total if manifest else 0


def _table(context: StageContext, ledger: Ledger, scan: _Scan, batch: str, had: int) -> pa.Table:
    """The rows of a batch, as good as they can be told, with the tombstones that older versions have."""
    fields = fields_of(context.settings, ledger.source)
    older = {(row["local_id"], row["ordinal"]): row for row in _older_rows(ledger, batch)}
    hashes = _hashes(context.store, batch)
    known = _known(context.store, batch, had)
    seen = _first_seen(context.store, batch)
    rows = []
    for image_id, facts in known.items():
        _, local_id, ordinal = ids.parse_image_id(image_id)
        key = {"local_id": local_id, "ordinal": ordinal, "batch": batch}
        before = older.pop((local_id, ordinal), {})
        told = [scan.facts.get(_place(key, own=scan.own_batches)), before]
        candidates = [{name: each.get(name) for name in FACTS} for each in told if each]
        hashed = hashes.get(image_id)
        proven = (each for each in candidates if hashed is None or raw.input_hash(each, fields) == hashed)
        rows.append({**key, **next(proven, facts), "first_seen": before.get("first_seen") or seen, "removed_at": None})
    rows += [row for row in older.values() if row["removed_at"]]
    return pa.Table.from_pylist(rows, LEDGER)


def _older_rows(ledger: Ledger, batch: str) -> list[Row]:
    """A batch's rows in the newest version in which they can be read."""
    for number in reversed(ledger.versions.numbers()):
        try:
            manifest = ledger.get(number)
            if batch in manifest.batches:
                rows: list[Row] = ledger.rows(manifest, batch).to_pylist()
                return rows
        except CorruptFile:
            continue
    return []


def _hashes(store: Store, batch: str) -> dict[str, str]:
    """What `raw_images` says that each picture's row in the ledger was, rows and failures alike."""
    base = sound_base(store.chain(raw.STAGE, batch))
    failed = {key.image_id: failure.input_hash for key, failure in base.failed.items()}
    return failed | {key.image_id: input_hash for key, input_hash in base.present.items()}


def _known(store: Store, batch: str, had: int) -> dict[str, Row]:
    """The pictures of a batch, with what is known of each; where raw_images is damaged, those that were made of it, and
    where these are fewer than it `had`, those that indexes have taken in."""
    chain = store.chain(raw.STAGE, batch)
    base = sound_base(chain)
    found: dict[str, Row] = {key.image_id: {} for key in base.failed}
    whole = base.manifest is not None and chain.versions.numbers()[-1:] == [base.manifest.version]
    lost = not whole or base.lost_rows or base.lost_failures
    if base.manifest is not None:
        for row in sound_rows(chain, ("image_id", "item_id", "location", "size")):
            found[str(row["image_id"])] = {name: row[name] for name in ("item_id", "location", "size")}
    for dataset in store.datasets() if lost else ():
        if dataset != raw.STAGE:
            below = sound_base(store.chain(dataset, batch))
            for key in (*below.present, *below.failed):
                found.setdefault(key.image_id, {})
    for image_id in _indexed(store, batch) if lost and len(found) < had else ():
        found.setdefault(image_id, {})
    return found


def _indexed(store: Store, batch: str) -> Iterator[str]:
    """The pictures that indexes have of a batch, as far as they can be read."""
    for generations in indexes(store):
        for number in reversed(generations.numbers()):
            try:
                segments = generations.get(number).segments
            except CorruptFile:
                continue
            for segment in segments:
                with suppress(CorruptFile):
                    rows, live = read_rows(store, generations.folder, segment, ("image_id", "batch"))
                    there = pc.and_(pa.array(live), pc.equal(rows.column("batch"), batch))
                    yield from rows.column("image_id").filter(there).to_pylist()
            break


def _first_seen(store: Store, batch: str) -> datetime:
    """When a batch was first seen, as the catalogue has it, which orders batches so; else when raw_images began."""
    catalogue = Catalogue(store)
    for number in reversed(catalogue.numbers()):
        try:
            state = catalogue.get(number).consumed.get(batch)
        except CorruptFile:
            continue
        if state is not None and state.newest:
            return datetime.fromisoformat(state.newest)
    chain = store.chain(raw.STAGE, batch)
    for number in chain.versions.numbers():
        try:
            return chain.get(number).created_at
        except CorruptFile:
            continue
    return datetime.now(UTC)
