"""Garbage collection: what no version that is kept needs, and what killed processes left behind, goes.

It never takes what a reader may hold, by age and by version (`garbage_plan`), nor anything of a chain of which it
cannot read every manifest, or whose lock somebody holds. `find_garbage` looks and changes nothing; `collect` looks
again at each chain, under its lock, and carries out: manifests first, oldest first, then what none names any more. So a
kill at any moment leaves whole versions, and files that the next collection finds.
"""

import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from filelock import FileLock, Timeout

from embeddings_dagster.errors import StoreError
from embeddings_dagster.stages.garbage_chains import TOPS, ChainOf, Unreadable, chain_of, claims, listed
from embeddings_dagster.stages.garbage_local import Left, left_behind
from embeddings_dagster.stages.garbage_plan import (
    NANOSECONDS,
    Bounds,
    Garbage,
    Input,
    Listing,
    Version,
    chain_garbage,
    former_garbage,
)
from embeddings_dagster.store import Stat, Store
from embeddings_dagster.store.litter import FORMER, KINDS, SUPERSEDED
from embeddings_dagster.store.local_file import forget_local
from embeddings_dagster.store.steps import reached

__all__ = ["Alone", "Bounds", "Garbage", "GarbageReport", "collect", "find_garbage", "look_for_garbage"]

SHORT = 3600  # seconds: whoever takes younger things must know that nobody is at work


class Alone(NamedTuple):
    """A chain, or another place, that was left alone, and why."""

    place: str
    why: str


@dataclass
class GarbageReport:
    """What there is, or what was taken; `failed`: what could not be, each with the reason."""

    taken: list[Garbage] = field(default_factory=list)
    failed: list[Alone] = field(default_factory=list)
    alone: list[Alone] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.taken)

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Files and bytes of each kind there is any of."""
        counts = Counter(each.kind for each in self.taken)
        return {kind: (counts[kind], sum(each.bytes for each in self.taken if each.kind == kind))
                for kind in KINDS if counts[kind]}  # fmt: skip


def find_garbage(store: Store, bounds: Bounds, now: float | None = None, former: Collection[str] = ()) -> list[Garbage]:
    """What `collect` would take at this moment; nothing is changed. `now`: in seconds since 1970, default: the clock.

    `former`: the fingerprints to be taken whole, each as `<model>/<first 12 digits>`.
    """
    return look_for_garbage(store, bounds, now, former).taken


def look_for_garbage(
    store: Store, bounds: Bounds, now: float | None = None, former: Collection[str] = ()
) -> GarbageReport:
    """As `find_garbage`, with what would be left alone and why."""
    look = _Look(store, bounds, _ns(time.time() if now is None else now), frozenset(former))
    found = GarbageReport()
    for chain, listing in look.chains():
        try:
            found.taken += look.garbage(chain, listing)
        except Unreadable as error:
            found.alone.append(Alone(chain.folder, str(error)))
    found.taken += [_garbage(left) for left in look.local()]
    return found


def collect(
    store: Store,
    bounds: Bounds,
    *,
    former: Collection[str] = (),
    log: Callable[[str], None] = lambda _: None,
    check_stop: Callable[[], None] = lambda: None,
) -> GarbageReport:
    """Take it. What cannot be deleted costs only itself, and is in the report.

    Raises:
        StoreError: another collection is at work on this store, or it cannot be written to.
        Stopped: by `check_stop`; what was taken until then is taken.
    """
    report = GarbageReport()
    with _held(store, "gc") as free:
        if not free:
            raise StoreError(f"another gc is at work on {store.root}; let it end, or stop it")
        look = _Look(store, bounds, min(_ns(time.time()), _storage_ns(store)), frozenset(former))
        local = look.local()
        for chain, listing in look.chains():
            check_stop()
            _collect_chain(look, chain, listing, report)
        _collect_local(look, local, report, check_stop)
    for each in (*report.alone, *report.failed):
        log(f"{each.place}: {each.why}")
    return report


class _Look:
    """One look at a store, by one clock."""

    def __init__(self, store: Store, bounds: Bounds, now_ns: int, former: frozenset[str]) -> None:
        self.store, self.bounds, self._now_ns, self._former = store, bounds, now_ns, former
        self._claims: dict[str, set[Input]] = {}

    def chains(self) -> Iterator[tuple[ChainOf, Mapping[str, Stat]]]:
        """Every chain with its files; what was made from others before those."""
        for top in TOPS:
            for folder, listing in sorted(listed(self.store, top).items()):
                if chain := chain_of(self.store, folder):
                    yield chain, listing

    def garbage(self, chain: ChainOf, listing: Listing) -> list[Garbage]:
        """What may go of a chain.

        Raises:
            Unreadable: a manifest cannot be used, or the newest ones are lost; nothing may go.
        """
        versions = chain.look(listing)
        self._require_newest(chain, versions)
        for folder, claimed in claims(versions):
            self._claims.setdefault(folder, set()).add(claimed)
        plan = former_garbage if self._is_former(chain.folder) else chain_garbage
        return plan(chain.folder, versions, listing, self.bounds, self._now_ns)

    def _require_newest(self, chain: ChainOf, versions: Sequence[Version]) -> None:
        """Files of manifests that were lost look as if nobody had named them; they may come back from a backup.

        What was made anew and says the same, under whatever number, was not lost.
        """
        newest = versions[-1].number if versions else 0
        said = next((each.contents for each in reversed(versions) if each.complete), frozenset())
        made_from = self._claims.get(chain.folder, set())
        lost = [each.version for each in made_from if each.version > newest and each.content not in said]
        if lost:
            raise Unreadable(
                f"its newest version is {newest}, and something was made from version {max(lost)}: manifests were "
                "lost; `embeddings verify` says what heals that"
            )

    def _is_former(self, folder: str) -> bool:
        top, *names = folder.split("/")
        return top in ("embeddings", "indexes") and "/".join(names[:2]) in self._former

    def local(self) -> list[Left]:
        """What is old enough outside of the chains."""
        return [each for each in left_behind(self.store) if self.bounds.passed(each.at_ns, self._now_ns)]


def _ns(seconds: float) -> int:
    return int(seconds * NANOSECONDS)


def _garbage(left: Left) -> Garbage:
    return Garbage(left.path, left.bytes, left.kind, left.why)


def _storage_ns(store: Store) -> int:
    """What time it is where the files' times are from: a clock of this machine that is ahead makes nothing older."""
    probe = f".probe-{uuid.uuid4().hex}"
    try:
        with store.files.writing(probe) as handle:
            handle.write(b"now")
        stat = store.files.stat(probe)
    except OSError as error:
        raise StoreError(f"{store.root} cannot be written to, so nothing can be taken from it: {error}") from error
    finally:
        store.files.delete(probe)
    return stat.mtime_ns if stat else 0


@contextmanager
def _held(store: Store, name: str) -> Iterator[bool]:
    """Whether the lock of that name was free; it is then held."""
    lock = store.lock(name, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _collect_chain(look: _Look, chain: ChainOf, listing: Listing, report: GarbageReport) -> None:
    try:
        if not look.garbage(chain, listing):
            return
        with _held(look.store, chain.lock) as free:
            if not free:
                report.alone.append(Alone(chain.folder, "somebody is at work on it; the next gc looks again"))
                return
            _take(look.store, chain.folder, look.garbage(chain, _listed_again(look.store, chain)), report)
    except Unreadable as error:
        report.alone.append(Alone(chain.folder, str(error)))


def _listed_again(store: Store, chain: ChainOf) -> Listing:
    """The files of a chain now; manifests are listed last, so that none is missing that names one of the others."""
    listing = listed(store, chain.folder).get(chain.folder, {})
    for path in map(chain.versions.path, chain.versions.numbers()):
        stat = listing.get(path) or store.files.stat(path)
        if stat is not None:
            listing[path] = stat
    return listing


def _take(store: Store, folder: str, garbage: list[Garbage], report: GarbageReport) -> None:
    """Manifests, then files. Where a manifest cannot be deleted, no newer one is, which would leave a gap, and no file
    that they may name."""
    stuck = False
    for each in garbage:
        is_manifest = each.path.startswith(f"{folder}/manifests/")
        if stuck and (is_manifest or each.kind in (SUPERSEDED, FORMER)):
            continue
        try:
            store.files.delete(each.path)
            forget_local(store, each.path)
        except OSError as error:
            stuck |= is_manifest
            report.failed.append(Alone(each.path, str(error)))
            continue
        report.taken.append(each)
        reached("gc:version" if is_manifest else "gc:file")
    for segment in {each.path.rpartition("/")[0] for each in garbage if "/segments/" in each.path}:
        store.files.delete_empty(segment)
    for inside in ("parts", "files", "deletions", "segments", "manifests"):
        store.files.delete_empty(f"{folder}/{inside}")
    store.files.delete_empty(folder)
    if any(each.kind == FORMER for each in garbage):
        store.files.delete_empty(folder.rpartition("/")[0])  # of the fingerprint


def _collect_local(look: _Look, local: list[Left], report: GarbageReport, check_stop: Callable[[], None]) -> None:
    hasty = look.bounds.older_than.total_seconds() < SHORT
    busy = _at_work(look.store) if hasty else None
    for left in local:
        check_stop()
        if left.lock is None and busy:
            report.alone.append(Alone(left.path, f"{busy} is at work, and it may be its own"))
            continue
        with _held(look.store, left.lock or "gc-local") as free:
            if not free:
                report.alone.append(Alone(left.path, "somebody is at work on it; the next gc looks again"))
                continue
            try:
                _delete_local(look.store, left)
            except OSError as error:
                report.failed.append(Alone(left.path, str(error)))
            else:
                report.taken.append(_garbage(left))
                reached("gc:file")


def _delete_local(store: Store, left: Left) -> None:
    path = Path(left.path)
    if not path.is_absolute():
        store.files.delete(left.path)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _at_work(store: Store) -> str | None:
    """The name of a lock that somebody on this machine holds, other than a collection."""
    for file in sorted((store.cache / "locks").glob("*.lock")):
        name = unquote(file.stem)
        if name == "gc":
            continue
        lock = FileLock(file, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return name
        lock.release()
    return None
