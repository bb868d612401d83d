"""What of one version chain may go: pure, from its listing and what its manifests say.

A version stays while a reader may hold it: the newest complete one and all after it always, at least so many complete
ones, and each until so long after the next complete one came. A file goes with the last version that names it; one that
none names when it is old enough to be nobody's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import NamedTuple

from embeddings_dagster.store import Stat
from embeddings_dagster.store.litter import FORMER, STRAY, SUPERSEDED, TEMPORARY, UNFINISHED, VERSION, WRITTEN

NANOSECONDS = 10**9


@dataclass(frozen=True)
class Bounds:
    """What stays: `keep` complete versions, and everything that is younger than `older_than`. With 0, which is for when
    nothing runs and nobody reads, age is not asked for."""

    older_than: timedelta = timedelta(days=7)
    keep: int = 3

    def __post_init__(self) -> None:
        if self.keep < 1 or self.older_than < timedelta(0):
            raise ValueError("at least one version is kept, and an age is not negative")

    def passed(self, then_ns: int, now_ns: int) -> bool:
        """Whether what happened then is old enough."""
        return not self.older_than or then_ns + self.older_than.total_seconds() * NANOSECONDS <= now_ns


class Garbage(NamedTuple):
    """One thing to be taken away: its path under the store's root, or an absolute one outside of the store's chains;
    `kind` is a key of `litter.KINDS`."""

    path: str
    bytes: int
    kind: str
    why: str


@dataclass(frozen=True)
class Version:
    """What a manifest says, for this purpose: `files` by their paths under the store's root; `contents`: the states it
    is of; `inputs`: the versions it was made from, by folder."""

    number: int
    path: str
    complete: bool
    files: frozenset[str]
    contents: frozenset[str] = frozenset()
    inputs: Mapping[str, "Input"] = field(default_factory=dict)


class Input(NamedTuple):
    """The number and the content of a version that another was made from."""

    version: int
    content: str


Listing = Mapping[str, Stat]  # of a chain's folder, by path under the store's root


def given_up(versions: Sequence[Version], listing: Listing, bounds: Bounds, now_ns: int) -> list[Version]:
    """The versions that nobody needs any more, oldest first; `versions` are all there are, oldest first."""
    complete = [version for version in versions if version.complete]
    if not complete:
        return []
    first_kept = complete[-bounds.keep :][0].number
    superseded_ns = 0
    for version, following in pairwise(complete):
        # No version came before an earlier one, whatever the clock said at the time.
        superseded_ns = max(superseded_ns, *(listing[each.path].mtime_ns for each in (version, following)))
        if not bounds.passed(superseded_ns, now_ns):
            first_kept = min(first_kept, version.number)
            break
    return [version for version in versions if version.number < first_kept]


def chain_garbage(
    folder: str, versions: Sequence[Version], listing: Listing, bounds: Bounds, now_ns: int
) -> list[Garbage]:
    """What may go of a chain, in the order in which it goes: manifests, oldest first, then files."""
    old = given_up(versions, listing, bounds, now_ns)
    newer = versions[len(old) :]
    kept = frozenset[str]().union(*(version.files for version in newer))
    found = [
        Garbage(each.path, listing[each.path].size, VERSION, f"version {each.number}; newer ones are kept")
        for each in old
    ]
    last = {file: version.number for version in old for file in version.files}
    for path, stat in sorted(listing.items()):
        inside = path.removeprefix(f"{folder}/")
        if UNFINISHED.fullmatch(inside.rpartition("/")[2]):
            if bounds.passed(stat.mtime_ns, now_ns):
                found.append(Garbage(path, stat.size, TEMPORARY, "its writer was killed before it was whole"))
        elif path in kept or not WRITTEN.fullmatch(inside):
            continue
        elif path in last:
            found.append(Garbage(path, stat.size, SUPERSEDED, f"last named by version {last[path]}"))
        elif bounds.passed(stat.mtime_ns, now_ns):
            found.append(Garbage(path, stat.size, STRAY, "no manifest names it"))
    return found


def former_garbage(
    folder: str, versions: Sequence[Version], listing: Listing, bounds: Bounds, now_ns: int
) -> list[Garbage]:
    """All of a chain, where nothing in it is young: manifests, oldest first, then files."""
    if not all(bounds.passed(stat.mtime_ns, now_ns) for stat in listing.values()):
        return []
    manifests = [each.path for each in versions]
    others = sorted(
        path
        for path in listing.keys() - manifests
        if WRITTEN.fullmatch(path.removeprefix(f"{folder}/")) or UNFINISHED.fullmatch(path.rpartition("/")[2])
    )
    why = "no model of the settings has this fingerprint"
    return [Garbage(path, listing[path].size, FORMER, why) for path in [*manifests, *others]]
