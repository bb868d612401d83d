"""Verification: is everything still what was committed, and were newest versions made from what is there?

Trusts nothing that is remembered. It reports all it finds and raises for none of it, so that one bad file hides no
other.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from embeddings_dagster.errors import StoreError
from embeddings_dagster.ids import Key
from embeddings_dagster.store.chain import Chain
from embeddings_dagster.store.ledger import Ledger
from embeddings_dagster.store.manifest import Manifest, Previous
from embeddings_dagster.store.parts import Part

if TYPE_CHECKING:
    from embeddings_dagster.store.store import Store

RESTORE = "restore it from a backup, or run the batch again with --force"
SUPERSEDED = "only versions before the newest complete one need it: delete it, or restore it from a backup"


class _Expected(NamedTuple):
    """What a manifest says of a file; of a failures file those of format 1 do not say the bytes."""

    sha256: str
    rows: int
    bytes: int | None


class Problem(NamedTuple):
    """One thing that is not as it was committed, and what to do about it. A ledger's dataset is `sources`."""

    dataset: str
    batch: str
    file: str
    reason: str
    remedy: str


def verify_store(store: "Store", *, deep: bool) -> list[Problem]:
    """All problems of a store. `deep` reads every byte; without it, existence and sizes are compared."""
    found: list[Problem] = []
    for dataset in store.datasets():
        for batch in store.batches(dataset):
            found += _verify_chain(store, store.chain(dataset, batch), deep)
    for source in store.sources():
        found += _verify_ledger(store, store.ledger(source), deep)
    return found


def _verify_chain(store: "Store", chain: Chain, deep: bool) -> Iterator[Problem]:
    manifests: dict[int, Manifest] = {}

    def problem(file: str, reason: object, remedy: str = RESTORE) -> Problem:
        return Problem(chain.dataset, chain.batch, file, str(reason), remedy)

    for version in chain.versions.numbers():
        try:
            manifests[version] = chain.get(version)
        except StoreError as error:
            yield problem(chain.versions.path(version), error, "restore it from a backup, or delete it and run again")
    for version, manifest in manifests.items():
        for reason in _inconsistencies(manifest, manifests.get(version - 1)):
            yield problem(chain.versions.path(version), reason)
    needed = _needed(manifests)
    for file, expected in _files(manifests).items():
        path = chain.path(file)
        if file in needed or store.files.stat(path):
            for reason in _file_reasons(store, path, expected, deep):
                yield problem(path, reason, RESTORE if file in needed else SUPERSEDED)
    complete = [manifest for manifest in manifests.values() if manifest.complete]
    if complete:
        latest = complete[-1]
        if deep and (twice := _repeated_keys(chain, latest)):
            yield problem(chain.versions.path(latest.version), f"has several live rows of {', '.join(twice[:5])}")
        for reason in _input_reasons(store, latest.inputs):
            yield problem(chain.versions.path(latest.version), reason, "run the batch again")


def _inconsistencies(manifest: Manifest, before: Manifest | None) -> Iterator[str]:
    previous, counts = manifest.previous, manifest.counts
    if before and previous and previous != Previous(before.version, before.self_sha256):
        yield f"was built on a version {previous.version} that is not the one there is"
    if counts.ok != sum(part.live for part in manifest.parts):
        yield f"counts {counts.ok} rows, its parts {sum(part.live for part in manifest.parts)}"
    if counts.failed != (manifest.failures.rows if manifest.failures else 0):
        yield f"counts {counts.failed} failures, its failures file another number"
    for part in manifest.parts:
        if list(part.dead) != sorted(set(part.dead) & set(range(part.rows))):
            yield f"lists dead rows that {part.file} does not have"


def _needed(manifests: Mapping[int, Manifest]) -> set[str]:
    """The files that must be there: of the newest complete version and all after it. Others `gc` may have taken."""
    newest = max((version for version, manifest in manifests.items() if manifest.complete), default=0)
    return set(_files({version: manifest for version, manifest in manifests.items() if version >= newest}))


def _files(manifests: Mapping[int, Manifest]) -> dict[str, _Expected]:
    """Every file that any of the versions names."""
    files: dict[str, _Expected] = {}
    for manifest in manifests.values():
        for part in manifest.parts:
            files[part.file] = _Expected(part.sha256, part.rows, part.bytes)
        if failures := manifest.failures:
            files[failures.file] = _Expected(failures.sha256, failures.rows, failures.bytes)
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
        except (StoreError, OSError) as error:
            yield str(error)
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
    except StoreError:
        return []  # reported with the file
    return twice


def _input_reasons(store: "Store", inputs: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """An input that is older than what was made from it has been restored, or lost commits."""
    for name, used in inputs.items():
        newest = _newest_version(store, name)
        version = used.get("version")
        if isinstance(version, int) and newest is not None and version > newest:
            yield f"was made from version {version} of {name}, whose newest is {newest}"


def _newest_version(store: "Store", name: str) -> int | None:
    """The newest version of an input; 0 where it has none, None where it cannot be read, which is its own problem."""
    if name.startswith("sources/"):
        return max(store.ledger(name.split("/")[1]).versions.numbers(), default=0)
    dataset, _, batch = name.rpartition("/")
    try:
        latest = store.chain(dataset, batch).latest()
    except StoreError:
        return None
    return latest.version if latest else 0


def _verify_ledger(store: "Store", ledger: Ledger, deep: bool) -> Iterator[Problem]:
    remedy = "restore it from a backup, or delete the newest manifest of the ledger and run again"
    newest = ledger.versions.numbers()[-1]
    try:
        manifest = ledger.get(newest)
    except StoreError as error:
        yield Problem("sources", ledger.source, ledger.versions.path(newest), str(error), remedy)
        return
    for batch in manifest.batches.values():
        path = ledger.path(batch.file)
        for reason in _file_reasons(store, path, _Expected(batch.sha256, batch.rows, batch.bytes), deep):
            yield Problem("sources", batch.key, path, reason, remedy)
