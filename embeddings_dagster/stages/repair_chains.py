"""What repairs of every kind of chain begin and end with: newest versions that cannot be read make way for the one
before, and damage that only older versions have is cleared away.

Only what cannot be read, and what is older than it, is ever deleted here, and never the newest version that can. Each
step may be repeated.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from embeddings_dagster.errors import CorruptFile, FormatTooNew
from embeddings_dagster.store import Chain, Ledger, Store, Versions
from embeddings_dagster.store.generations import GenerationChain
from embeddings_dagster.store.linked import Linked, chained
from embeddings_dagster.store.migrations import FORMAT_VERSION
from embeddings_dagster.store.verify import newest_complete
from embeddings_dagster.store.versions import unseal

Version = TypeVar("Version", bound=Linked)
Named = Mapping[str, str]  # the sha256 of the files that a version names, by path

FORMAT = b'"format_version": %d'


def drop_unreadable(store: Store, versions: Versions, read: Callable[[int], object]) -> list[int]:
    """Delete the newest versions as far as they cannot be read; returns their numbers.

    Raises:
        FormatTooNew: a newer release wrote one.
    """
    dropped = []
    while numbers := versions.numbers():
        path = versions.path(numbers[-1])
        try:
            read(numbers[-1])
            break
        except CorruptFile:
            pass
        except FormatTooNew:
            if not _says_so_by_damage(store, path):
                raise
        store.files.delete(path)
        dropped.append(numbers[-1])
    return dropped


def _says_so_by_damage(store: Store, path: str) -> bool:
    """Whether a document is of this release, and a bit of the number of its format has flipped."""
    data = store.files.read(path)
    for format_version in range(1, FORMAT_VERSION + 1):
        start = data.rfind(FORMAT[:-2])
        end = min((place for place in (data.find(b",", start), data.find(b"\n", start)) if place >= 0), default=-1)
        if start < 0 or end < 0:
            return False
        try:
            unseal(data[:start] + FORMAT % format_version + data[end:], path)
        except CorruptFile:
            continue
        return True
    return False


def clear_batch(store: Store, chain: Chain) -> list[str]:
    """Clear away what is damaged of versions before the newest complete one; returns the paths."""
    versions, faults = chained(chain.versions, chain.get)
    named = {}
    for number, manifest in versions.items():
        failures = [(manifest.failures.file, manifest.failures.sha256)] if manifest.failures else []
        files = [(part.file, part.sha256) for part in manifest.parts] + failures
        named[number] = {chain.path(file): sha256 for file, sha256 in files}
    return _clear(store, chain.versions, [each.number for each in faults], newest_complete(versions), named)


def clear_ledger(store: Store, ledger: Ledger) -> list[str]:
    """The same of a ledger."""
    versions, faults = chained(ledger.versions, ledger.get)
    named = {
        number: {ledger.path(entry.file): entry.sha256 for entry in manifest.batches.values()}
        for number, manifest in versions.items()
    }
    return _clear(store, ledger.versions, [each.number for each in faults], max(versions, default=0), named)


def clear_generations(chain: GenerationChain[Any], files_of: Callable[[Any], Named]) -> list[str]:
    """The same of generations."""
    versions, faults = chained(chain.versions, chain.get)
    named = {number: files_of(manifest) for number, manifest in versions.items()}
    return _clear(chain.store, chain.versions, [each.number for each in faults], max(versions, default=0), named)


def clear_versions(store: Store, versions: Versions, read: Callable[[int], Version]) -> list[str]:
    """The same of versions that name no files."""
    found, faults = chained(versions, read)
    named: dict[int, Named] = {number: {} for number in found}
    return _clear(store, versions, [each.number for each in faults], max(found, default=0), named)


def _clear(store: Store, versions: Versions, faulty: list[int], newest: int, named: Mapping[int, Named]) -> list[str]:
    """`faulty`: numbers of which something is wrong; one that can be read has the wrong version below it."""
    ends = [number if number in named else number + 1 for number in faulty if number <= newest]
    end = min(max(ends, default=0), newest)
    cleared = [versions.path(number) for number in versions.numbers() if number < end]
    needed = {path for number, files in named.items() if number >= newest for path in files}
    for path, sha256 in {path: sha for files in named.values() for path, sha in files.items()}.items():
        if path not in needed and store.files.stat(path) and is_damaged(store, path, sha256):
            cleared.append(path)
    for path in cleared:  # manifests from the oldest up, so that one that is killed leaves no gap
        store.files.delete(path)
    return cleared


def is_damaged(store: Store, path: str, sha256: str) -> bool:
    """Whether a file is not what was committed, or not there; every byte is read."""
    try:
        store.checked.check(path, sha256, again=True)
    except CorruptFile:
        return True
    return False
