"""Verification of rows and ledgers: is everything still what was committed, where it was committed, with nothing lost
between, and were newest versions made from what is there?

Trusts nothing that is remembered. It reports all it finds and raises for none of it, so that one bad file hides no
other.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from embeddings_dagster.errors import StorageUnavailable, StoreError
from embeddings_dagster.ids import Key
from embeddings_dagster.store.chain import Chain
from embeddings_dagster.store.checked import told
from embeddings_dagster.store.ledger import Ledger, LedgerManifest
from embeddings_dagster.store.linked import Chained, chained
from embeddings_dagster.store.manifest import Manifest
from embeddings_dagster.store.parts import Part

if TYPE_CHECKING:
    from embeddings_dagster.store.store import Store

ALL = "all"  # rows, of what a manifest names
REPAIR = "`embeddings verify --repair` makes it anew, from {}; or restore it from a backup"
SUPERSEDED = "nothing newer needs it: `embeddings verify --repair` deletes it; or restore it from a backup"
LEDGER = (
    "`embeddings verify --repair` makes it anew, from raw_images and a look at the source; or restore it from a backup"
)
UPSTREAM = {"raw_images": "the source", "rgb_images": "raw_images and the pictures"}


class Problem(NamedTuple):
    """One thing that is not as it was committed, what rows are concerned, in words, and what to do about it. A ledger's
    dataset is `sources`."""

    dataset: str
    batch: str
    file: str
    rows: str
    reason: str
    remedy: str


class _Expected(NamedTuple):
    """What a manifest says of a file; of a failures file it does not say the bytes. `told`: its rows, in words."""

    sha256: str
    rows: int
    bytes: int | None
    told: str


def verify_store(store: "Store", *, deep: bool) -> list[Problem]:
    """All problems of a store. `deep` reads every byte; without it, existence and sizes are compared."""
    found: list[Problem] = []
    for dataset in store.datasets():
        for batch in store.batches(dataset):
            found += _verify_chain(store, store.chain(dataset, batch), deep)
    for source in store.sources():
        found += _verify_ledger(store, store.ledger(source), deep)
    return found


def newest_complete(versions: Mapping[int, Manifest]) -> int:
    """The number of the newest complete version, 0 for none."""
    return max((number for number, manifest in versions.items() if manifest.complete), default=0)


def _verify_chain(store: "Store", chain: Chain, deep: bool) -> Iterator[Problem]:
    versions, faults = chained(chain.versions, chain.get)
    newest = newest_complete(versions)
    remedy = REPAIR.format(UPSTREAM.get(chain.dataset, "rgb_images"))

    def problem(file: str, rows: str, reason: str, *, needed: bool = True) -> Problem:
        return Problem(
            chain.dataset, chain.batch, file, rows if needed else "", reason, remedy if needed else SUPERSEDED
        )

    for fault in faults:
        yield problem(fault.path, ALL, fault.reason, needed=fault.number >= newest)
    for number, manifest in versions.items():
        for reason in _inconsistencies(manifest):
            yield problem(chain.versions.path(number), ALL, reason, needed=number >= newest)
    needed = _files({number: manifest for number, manifest in versions.items() if number >= newest})
    for file, expected in _files(versions).items():
        path = chain.path(file)
        if file in needed or store.files.stat(path):
            for reason in _file_reasons(store, path, expected, deep):
                yield problem(path, expected.told, reason, needed=file in needed)
    if newest:
        latest, path = versions[newest], chain.versions.path(newest)
        if deep and (twice := _repeated_keys(chain, latest)):
            yield problem(path, f"{len(twice):,} rows", f"has several live rows of {', '.join(twice[:5])}")
        for reason in _input_reasons(store, latest):
            yield Problem(chain.dataset, chain.batch, path, ALL, reason, RUN_AGAIN)


RUN_AGAIN = "a version of that was lost, or an older state restored: `embeddings verify --repair` runs the batch again"


def _inconsistencies(manifest: Manifest) -> Iterator[str]:
    counts = manifest.counts
    if counts.ok != sum(part.live for part in manifest.parts):
        yield f"counts {counts.ok} rows, its parts {sum(part.live for part in manifest.parts)}"
    if counts.failed != (manifest.failures.rows if manifest.failures else 0):
        yield f"counts {counts.failed} failures, its failures file another number"
    for part in manifest.parts:
        if list(part.dead) != sorted(set(part.dead) & set(range(part.rows))):
            yield f"lists dead rows that {part.file} does not have"


def _files(manifests: Mapping[int, Manifest]) -> dict[str, _Expected]:
    """Every file that any of the versions names, as the newest of them says."""
    files: dict[str, _Expected] = {}
    for manifest in manifests.values():
        for part in manifest.parts:
            files[part.file] = _Expected(part.sha256, part.rows, part.bytes, f"{part.live:,} rows")
        if failures := manifest.failures:
            told = f"{failures.rows:,} failures"
            files[failures.file] = _Expected(failures.sha256, failures.rows, failures.bytes, told)
    return files


def _file_reasons(store: "Store", path: str, expected: _Expected, deep: bool) -> Iterator[str]:
    stat = store.files.stat(path)
    if stat is None:
        yield "is missing"
    elif expected.bytes not in (None, stat.size):
        yield f"has {stat.size} bytes, not {expected.bytes}"
    elif deep:
        try:
            with store.checked.open(path, expected.sha256, again=True) as handle:
                part = Part(handle, path)
                rows = sum(len(part.read_group(number)) for number in range(len(part.group_rows())))
        except StorageUnavailable:  # out of reach is not damaged
            raise
        except (StoreError, OSError) as error:
            yield told(error)
        else:
            if rows != expected.rows:
                yield f"has {rows} rows, not {expected.rows}"


def _repeated_keys(chain: Chain, manifest: Manifest) -> list[str]:
    seen: set[Key] = set()
    twice: list[str] = []
    try:
        for entry in manifest.parts:
            dead = set(entry.dead)
            with chain.part(entry.file, entry.sha256) as part:
                live = [key for row, key in enumerate(part.row_keys()) if row not in dead]
            twice += [f"{key.image_id} region {key.region}" for key in live if key in seen]
            seen.update(live)
    except (StoreError, OSError):
        return []  # reported with the file
    return twice


class _Newest(NamedTuple):
    """The newest version of an input, 0 for none, and what it says."""

    version: int
    content: str


def _input_reasons(store: "Store", manifest: Manifest) -> Iterator[str]:
    """An input that is older than what was made from it, and says something else, has been restored, or lost commits.

    Where it says the same, as one does that was made anew, nothing is wrong.
    """
    for name, used in manifest.inputs.items():
        newest = _newest(store, name, manifest.batch)
        version = used.get("version")
        if newest and isinstance(version, int) and version > newest.version and used.get("content") != newest.content:
            yield f"was made from version {version} of {name}, whose newest is {newest.version}"


def _newest(store: "Store", name: str, batch: str) -> _Newest | None:
    """An input as it is now; None where it cannot be read, which is its own problem."""
    try:
        if name.startswith("sources/"):
            ledger = store.ledger(name.split("/")[1]).latest()
            entry = ledger.batches.get(batch) if ledger else None
            return _Newest(ledger.version if ledger else 0, entry.source_state if entry else "")
        dataset, _, of = name.rpartition("/")
        latest = store.chain(dataset, of).latest()
    except (StoreError, OSError):
        return None
    return _Newest(latest.version, latest.content) if latest else _Newest(0, "")


def _verify_ledger(store: "Store", ledger: Ledger, deep: bool) -> Iterator[Problem]:
    found: Chained[LedgerManifest] = chained(ledger.versions, ledger.get)
    newest = max(ledger.versions.numbers(), default=0)

    def problem(batch: str, file: str, rows: str, reason: str, *, needed: bool) -> Problem:
        return Problem("sources", batch, file, rows if needed else "", reason, LEDGER if needed else SUPERSEDED)

    for fault in found.faults:
        yield problem(ledger.source, fault.path, ALL, fault.reason, needed=fault.number >= newest)
    files = {entry.file: entry for manifest in found.versions.values() for entry in manifest.batches.values()}
    now = found.versions.get(newest)
    needed = {entry.file for entry in now.batches.values()} if now else set(files)
    for file, entry in files.items():
        path = ledger.path(file)
        if (now and file in needed) or store.files.stat(path):
            expected = _Expected(entry.sha256, entry.rows, entry.bytes, f"{entry.rows:,} rows")
            for reason in _file_reasons(store, path, expected, deep):
                yield problem(entry.key, path, expected.told, reason, needed=file in needed)
