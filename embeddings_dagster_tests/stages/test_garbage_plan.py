"""Which versions of a chain may go, and which files: literal chains, each version by what a reader may hold."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.stages.garbage_plan import Bounds, Garbage, Version, chain_garbage, former_garbage, given_up
from embeddings_dagster.store import Stat

DAY = 24 * 3600 * 10**9
NOW = 100 * DAY


def manifest(number: int) -> str:
    return f"raw_images/b/manifests/{number:08d}.json"


def part(name: str) -> str:
    return f"raw_images/b/parts/{name * 32}.parquet"


def chain(*told: tuple[bool, str, float]) -> tuple[list[Version], dict[str, Stat]]:
    """Versions from 1 on: whether each is complete, the letters of its parts, and how many days ago it came."""
    versions, listing = [], {}
    for number, (complete, letters, days) in enumerate(told, start=1):
        files = frozenset(map(part, letters))
        versions.append(Version(number, manifest(number), complete, files))
        listing[manifest(number)] = Stat(10, int(NOW - days * DAY), "")
        for file in files:
            listing.setdefault(file, Stat(1000, int(NOW - days * DAY), ""))
    return versions, listing


def gone(bounds: Bounds, *told: tuple[bool, str, float]) -> list[int]:
    return [version.number for version in given_up(*chain(*told), bounds, NOW)]


OLD = [(True, "a", 50), (True, "b", 40), (True, "c", 30), (True, "d", 20), (True, "e", 10)]


def test_so_many_complete_versions_stay_whatever_their_age() -> None:
    assert gone(Bounds(timedelta(days=7), 3), *OLD) == [1, 2]
    assert gone(Bounds(timedelta(days=7), 1), *OLD) == [1, 2, 3, 4]
    assert gone(Bounds(timedelta(days=7), 5), *OLD) == []
    assert gone(Bounds(timedelta(days=7), 9), *OLD) == []


def test_a_version_stays_until_so_long_after_the_next_one_came() -> None:
    """A year old and followed yesterday: whoever opened it the day before may hold it yet."""
    told = [(True, "a", 365), (True, "b", 1), (True, "c", 0.5), (True, "d", 0.25)]
    assert gone(Bounds(timedelta(days=7), 1), *told) == []
    assert gone(Bounds(timedelta(hours=20), 1), *told) == [1]
    assert gone(Bounds(timedelta(hours=12), 1), *told) == [1, 2]
    assert gone(Bounds(timedelta(0), 1), *told) == [1, 2, 3]


def test_the_next_one_is_the_next_that_anybody_reads() -> None:
    """One that is not complete supersedes nothing: readers hold what came before it."""
    told = [(True, "a", 50), (False, "b", 40), (False, "c", 30), (True, "d", 1)]
    assert gone(Bounds(timedelta(days=7), 1), *told) == []
    assert gone(Bounds(timedelta(hours=1), 1), *told) == [1, 2, 3]


def test_what_a_run_resumes_from_stays() -> None:
    told = [*OLD, (False, "f", 9), (False, "g", 8)]
    assert gone(Bounds(timedelta(0), 1), *told) == [1, 2, 3, 4]
    assert gone(Bounds(timedelta(0), 1), (False, "a", 90), (False, "b", 80)) == []


def test_what_led_to_the_first_complete_version_goes_once_that_is_old() -> None:
    told = [(False, "a", 50), (False, "b", 40), (True, "c", 30)]
    assert gone(Bounds(timedelta(days=7), 3), *told) == [1, 2]
    assert gone(Bounds(timedelta(days=7), 3)) == []


def test_a_clock_that_was_behind_for_a_while_makes_no_version_older() -> None:
    """The manifest of version 3 says 1970; it cannot have come before version 2."""
    told = [(True, "a", 3), (True, "b", 2), (True, "c", 20_000), (True, "d", 1)]
    assert gone(Bounds(timedelta(days=7), 1), *told) == []
    assert gone(Bounds(timedelta(days=1, hours=12), 1), *told) == [1, 2]


def test_a_clock_that_was_ahead_makes_none_older_either() -> None:
    told = [(True, "a", 30), (True, "b", -400), (True, "c", 20), (True, "d", 10)]
    assert gone(Bounds(timedelta(days=7), 1), *told) == []
    assert gone(Bounds(timedelta(0), 1), *told) == [1, 2, 3]


def test_manifests_go_first_oldest_first_and_then_what_only_they_name() -> None:
    versions, listing = chain((True, "ab", 50), (True, "bc", 40), (True, "cd", 30))
    assert chain_garbage("raw_images/b", versions, listing, Bounds(timedelta(days=7), 1), NOW) == [
        Garbage(manifest(1), 10, "version", "version 1; newer ones are kept"),
        Garbage(manifest(2), 10, "version", "version 2; newer ones are kept"),
        Garbage(part("a"), 1000, "superseded", "last named by version 1"),
        Garbage(part("b"), 1000, "superseded", "last named by version 2"),
    ]


@pytest.mark.parametrize(("days", "taken"), [(1, False), (6.9, False), (7, True), (-1, False)])
def test_what_no_manifest_names_goes_by_its_own_age(days: float, taken: bool) -> None:
    """A part is published before its manifest: one that is young may be a run's that is about to commit it."""
    versions, listing = chain((True, "a", 50))
    listing[part("e")] = listing["raw_images/b/manifests/.00000002.json." + "0" * 32 + ".tmp"] = Stat(
        5, int(NOW - days * DAY), ""
    )
    found = chain_garbage("raw_images/b", versions, listing, Bounds(), NOW)
    assert [each.kind for each in found] == (["temporary", "stray"] if taken else [])
    assert len(chain_garbage("raw_images/b", versions, listing, Bounds(timedelta(0), 1), NOW)) == 2


def test_what_no_writer_of_ours_names_is_not_ours() -> None:
    versions, listing = chain((True, "a", 50))
    for name in ("parts/notes.txt", "parts/.DS_Store", "manifests/00000009.json.bak", "parts/backup.parquet",
                 "manifests/.nfs0000000000000001", "parts/.swp.tmp", "manifests/1.json"):  # fmt: skip
        listing[f"raw_images/b/{name}"] = Stat(5, 0, "")
    assert chain_garbage("raw_images/b", versions, listing, Bounds(timedelta(0), 1), NOW) == []


def test_a_former_fingerprint_goes_whole_once_nothing_of_it_is_young() -> None:
    versions, listing = chain((True, "a", 50), (False, "ab", 8))
    assert [each.path for each in former_garbage("raw_images/b", versions, listing, Bounds(), NOW)] == [
        manifest(1), manifest(2), part("a"), part("b"),
    ]  # fmt: skip
    assert former_garbage("raw_images/b", versions, listing, Bounds(timedelta(days=9)), NOW) == []


@pytest.mark.parametrize(("older_than", "keep"), [(timedelta(0), 0), (timedelta(seconds=-1), 1)])
def test_bounds_that_would_take_everything_are_refused(older_than: timedelta, keep: int) -> None:
    with pytest.raises(ValueError, match="at least one version is kept"):
        Bounds(older_than, keep)


@given(
    st.lists(st.tuples(st.booleans(), st.text("abcdef", max_size=4), st.floats(-50, 90)), max_size=9),
    st.integers(1, 4),
    st.floats(0, 60),
    st.dictionaries(st.sampled_from("abcdefxyz"), st.floats(-50, 90), max_size=6),
)
def test_whatever_the_chain_nothing_goes_that_is_needed(
    told: list[tuple[bool, str, float]], keep: int, days: float, parts: dict[str, float]
) -> None:
    versions, listing = chain(*told)
    listing |= {part(name): Stat(1000, int(NOW - age * DAY), "") for name, age in parts.items()}
    bounds = Bounds(timedelta(days=days), keep)
    taken = {each.path for each in chain_garbage("raw_images/b", versions, listing, bounds, NOW)}
    stay = [version for version in versions if version.path not in taken]
    assert stay == versions[len(versions) - len(stay) :], "the newest, without a gap"
    complete = [version for version in versions if version.complete]
    assert [version for version in stay if version.complete][-keep:] == complete[-keep:]
    assert not taken & {file for version in stay for file in version.files}
    if complete:
        assert all(version in stay for version in versions if version.number >= complete[-1].number)
    else:
        assert stay == versions
    if bounds.older_than:
        named = {file for version in versions for file in version.files}
        young = {path for path, stat in listing.items() if stat.mtime_ns > NOW - days * DAY}
        assert not taken & young - named - {version.path for version in versions}
    rest = {path: stat for path, stat in listing.items() if path not in taken}
    assert chain_garbage("raw_images/b", stay, rest, bounds, NOW) == [], "once is enough"
