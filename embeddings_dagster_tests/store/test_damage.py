"""A file that is not what was committed: found by a first read of it, and by `verify`."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from embeddings_dagster.errors import CorruptFile, FormatTooNew, MissingFile, StoreError
from embeddings_dagster.store import Manifest, Store
from embeddings_dagster.store.migrations import FORMAT_VERSION
from embeddings_dagster.store.tables import LEDGER
from embeddings_dagster.store.verify import RUN_AGAIN
from embeddings_dagster_tests.store.helpers import NOON, TABLE, chain_of, commit, failure, row, writer_of
from embeddings_dagster_tests.store.places import OnDisk, Place, open_at


def ledger_row(local_id: str, size: int = 1, removed_at: datetime | None = None) -> dict[str, object]:
    return {
        "local_id": local_id,
        "item_id": local_id,
        "ordinal": 0,
        "batch": "art__0001",
        "size": size,
        "first_seen": NOON,
        "removed_at": removed_at,
    }


@pytest.fixture
def filled(place: Place) -> Place:
    """A store with every kind of file, never read yet."""
    store = open_at(place, cache="unused")
    commit(chain_of(store), "art:a", "art:b", "art:c", failures=(failure("art:d"),))
    table = pa.Table.from_pylist([ledger_row("a"), ledger_row("b")], LEDGER)
    store.ledger("art").commit(None, {"art__0001": table}, run_id="run")
    return place


def fresh(place: Place) -> Store:
    return open_at(place)


def newest(place: Place) -> Manifest:
    manifest = chain_of(fresh(place)).latest()
    assert manifest is not None
    return manifest


def read_all(store: Store) -> None:
    """Every read a consumer may do."""
    chain = chain_of(store)
    for version in chain.versions.numbers():
        manifest = chain.get(version)
        chain.rows(manifest)
        chain.failures(manifest)
    ledger = store.ledger("art").latest()
    assert ledger is not None
    store.ledger("art").rows(ledger, "art__0001")


def flip(place: Place, path: str, bit: int) -> None:
    data = bytearray(place.read(path))
    data[bit // 8] ^= 1 << bit % 8
    place.write(path, bytes(data))


def test_an_undamaged_store_reads_and_verifies(filled: Place) -> None:
    read_all(fresh(filled))
    assert fresh(filled).verify() == fresh(filled).verify(deep=False) == []
    assert len(filled.paths()) == 8  # two parts and failures in three versions, and a ledger with its part


def test_a_flipped_bit_in_any_file_is_found_by_a_first_read_and_by_verify(filled: Place) -> None:
    shares = (0.0, 0.3, 0.7, 0.9999)
    for number, path in enumerate(filled.paths()):
        good = filled.read(path)
        for share in shares if isinstance(filled, OnDisk) else (shares[number % 4],):
            flip(filled, path, int(len(good) * 8 * share))
            with pytest.raises((CorruptFile, FormatTooNew), match=Path(path).name):
                read_all(fresh(filled))
            assert path in {problem.file for problem in fresh(filled).verify()}
            filled.write(path, good)


def test_a_missing_file_is_found_by_a_read_and_by_verify(filled: Place) -> None:
    for path in filled.paths():
        if path.endswith(".json"):
            continue  # a missing manifest is a version that never was
        good = filled.read(path)
        filled.delete(path)
        with pytest.raises(MissingFile, match=Path(path).name):
            read_all(fresh(filled))
        for deep in (True, False):
            assert [(each.file, each.reason) for each in fresh(filled).verify(deep)] == [(path, "is missing")]
        filled.write(path, good)


def test_a_shortened_file_is_found_without_reading_it(filled: Place) -> None:
    path = chain_of(fresh(filled)).files(newest(filled))[0]
    shorter = filled.read(path)[:-1]
    filled.write(path, shorter)
    size = len(shorter)
    assert [problem.reason for problem in fresh(filled).verify(deep=False)] == [f"has {size} bytes, not {size + 1}"]


@pytest.mark.local_disk("no object store lets bytes change and keeps their ETag")
def test_damage_that_keeps_size_and_time_is_found_by_pages_and_by_verify(filled: Place) -> None:
    read_all(fresh(filled))
    chain = chain_of(fresh(filled))
    path = Path(filled.root) / chain.files(newest(filled))[0]
    before = path.stat()
    flip(filled, chain.files(newest(filled))[0], 60 * 8)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CorruptFile, match="cannot be parsed"):
        read_all(fresh(filled))
    assert [problem.file for problem in fresh(filled).verify()] == [chain.files(newest(filled))[0]]


def test_one_bad_file_hides_no_other_and_each_has_a_remedy(filled: Place) -> None:
    for path in filled.paths():
        flip(filled, path, 77)
    problems = fresh(filled).verify()
    assert {problem.file for problem in problems} == {path for path in filled.paths() if path.endswith(".json")}
    assert all(problem.remedy for problem in problems)
    assert {problem.dataset for problem in problems} == {"sources", chain_of(fresh(filled)).dataset}


def damaged_manifest(filled: Place, change: Callable[[dict[str, object]], object]) -> list[str]:
    """What verify says of a version that was sealed and says something impossible."""
    chain, head = chain_of(fresh(filled)), newest(filled)
    document = {**head.to_document(), "version": head.version + 1}
    document["previous"] = {"version": head.version, "sha256": head.self_sha256}
    change(document)
    chain.versions.create(head.version + 1, document)
    return [problem.reason for problem in fresh(filled).verify()]


def test_a_version_that_contradicts_itself_is_found(filled: Place) -> None:
    chain = chain_of(fresh(filled))
    assert damaged_manifest(filled, lambda d: d.update(counts={"total": 9, "ok": 9, "failed": 1})) == [
        "counts 9 rows, its parts 3"
    ]
    chain.store_files.delete(chain.versions.path(4))
    assert damaged_manifest(filled, lambda d: d.update(failures=None)) == [
        "counts 1 failures, its failures file another number"
    ]
    chain.store_files.delete(chain.versions.path(4))
    assert damaged_manifest(filled, lambda d: d.update(previous={"version": 3, "sha256": "other"})) == [
        "was built on a version 3 that is not the one there is"
    ]
    chain.store_files.delete(chain.versions.path(4))
    twice = newest(filled).to_document()["parts"]
    assert damaged_manifest(
        filled, lambda d: d.update(parts=[*twice, *twice], counts={"total": 7, "ok": 6, "failed": 1})
    ) == ["has several live rows of art:a region 0, art:b region 0, art:c region 0"]


def test_what_was_made_from_a_version_that_is_no_more_is_found(filled: Place) -> None:
    store = fresh(filled)
    for name, expected in [
        ("rgb_images/art__0001", "was made from version 4 of rgb_images/art__0001, whose newest is 0"),
        ("sources/art", "was made from version 4 of sources/art, whose newest is 1"),
        ("sources/art/art__0001", "was made from version 4 of sources/art/art__0001, whose newest is 1"),
    ]:
        writer = writer_of(chain_of(store))
        writer.finish(inputs={name: {"version": 4, "content": "c"}}, total=4)
        assert [(each.reason, each.remedy) for each in store.verify()] == [(expected, RUN_AGAIN)]


def test_a_newer_format_is_refused_by_readers_and_writers(filled: Place) -> None:
    path = chain_of(fresh(filled)).versions.path(3)
    filled.write(path, filled.read(path).replace(b'"format_version": %d' % FORMAT_VERSION, b'"format_version": 9'))
    for use in (chain_of(fresh(filled)).latest, lambda: writer_of(chain_of(fresh(filled)))):
        with pytest.raises(FormatTooNew, match="Upgrade embeddings-dagster"):
            use()
    assert "Upgrade" in fresh(filled).verify()[0].reason


def test_old_parts_that_were_collected_are_no_problem(filled: Place) -> None:
    store = fresh(filled)
    chain = chain_of(store)
    pinned = newest(filled)
    writer = writer_of(chain)
    for name in "abc":
        writer.add([row(f"art:{name}")])
    following = writer.finish(inputs={}, total=4)
    for path in set(chain.files(pinned)) - set(chain.files(following)):
        store.files.delete(path)
    assert store.verify() == []
    with pytest.raises(StoreError, match="is missing"):
        chain.rows(pinned)


def test_a_damaged_file_that_only_older_versions_need_may_be_deleted(filled: Place) -> None:
    damaged = {chain_of(fresh(filled)).path(part.file) for part in newest(filled).parts}
    for path in damaged:
        filled.write(path, b"damaged")
    writer = chain_of(fresh(filled)).writer(TABLE, run_id="run", label={"fingerprint": "f"}, heal=True)
    for image in ("art:a", "art:b", "art:c"):
        writer.add([row(image)])
    writer.finish(inputs={}, total=4)
    problems = fresh(filled).verify(deep=True)
    assert {each.file for each in problems} == damaged
    assert all("deletes it" in each.remedy for each in problems)
    for path in damaged:
        filled.delete(path)
    assert fresh(filled).verify(deep=True) == []


def test_a_damaged_file_sends_to_verify_which_alone_knows_what_heals_it(filled: Place) -> None:
    (part,) = (path for path in filled.paths() if path.startswith("sources/art/parts/"))
    filled.write(part, b"damaged")
    ledger = fresh(filled).ledger("art")
    manifest = ledger.latest()
    assert manifest is not None
    with pytest.raises(CorruptFile, match="`embeddings verify`") as raised:
        ledger.rows(manifest, "art__0001")
    assert "--force" not in str(raised.value), "force heals no ledger"
