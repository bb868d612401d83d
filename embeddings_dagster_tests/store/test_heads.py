import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from embeddings_dagster.errors import FormatTooNew
from embeddings_dagster.store import Head, Store
from embeddings_dagster.store import heads as heads_module
from embeddings_dagster_tests.store.helpers import DATASET, commit, failure, row, writer_of

BATCHES = ["art__0001", "art__0002", "art__0003"]


def opened(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The manifests that are opened from now on, by path."""
    paths: list[str] = []
    read = store.files.read
    monkeypatch.setattr(store.files, "read", lambda path: paths.append(path) or read(path))
    return paths


def test_a_head_says_what_the_newest_complete_version_says(store: Store) -> None:
    chain = store.chain(DATASET, BATCHES[0])
    manifest = commit(chain, "art:a", "art:b", "art:c", failures=(failure("art:x"),))
    expected = Head(
        version=manifest.version,
        content=manifest.content,
        counts=manifest.counts,
        bytes=sum(part.bytes for part in manifest.parts),
        inputs=manifest.inputs,
        fingerprint="f",
        created_at=manifest.created_at,
        run_id="run",
        begun=False,
    )
    for _ in range(2):  # opened, and remembered
        heads = store.heads(DATASET)
        assert (dict(heads.by_batch), heads.unopened) == ({BATCHES[0]: expected}, frozenset())
        assert heads.get("unknown") == Head()


def test_a_batch_that_was_begun_and_never_completed_has_no_version_yet(store: Store) -> None:
    writer_of(store.chain(DATASET, BATCHES[0])).add([row("art:a")])
    writer_of(store.chain(DATASET, BATCHES[0])).checkpoint()
    assert store.heads(DATASET).by_batch == {}
    writer = writer_of(store.chain(DATASET, BATCHES[0]))
    writer.add([row("art:a")])
    writer.checkpoint()
    for _ in range(2):
        assert store.heads(DATASET).by_batch == {BATCHES[0]: Head(begun=True)}
    complete = commit(store.chain(DATASET, BATCHES[0]), "art:b")
    writer = writer_of(store.chain(DATASET, BATCHES[0]))
    writer.add([row("art:c")])
    writer.checkpoint()
    for _ in range(2):
        head = store.heads(DATASET).get(BATCHES[0])
        assert (head.version, head.begun) == (complete.version, True)


def test_only_what_is_new_is_opened(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for batch in BATCHES:
        commit(store.chain(DATASET, batch), "art:a")
    store.heads(DATASET)
    manifest = commit(store.chain(DATASET, BATCHES[1]), "art:b")
    paths = opened(store, monkeypatch)
    assert store.heads(DATASET).get(BATCHES[1]).version == manifest.version
    assert paths == [store.chain(DATASET, BATCHES[1]).versions.path(manifest.version)]
    store.heads(DATASET)
    assert len(paths) == 1


def test_a_bound_leaves_the_last_ones_to_the_next_time(store: Store) -> None:
    for batch in BATCHES:
        commit(store.chain(DATASET, batch), "art:a")
    heads = store.heads(DATASET, at_most=2, first=lambda batch: -BATCHES.index(batch))
    assert (sorted(heads.by_batch), heads.unopened) == (BATCHES[1:], {BATCHES[0]})
    assert store.heads(DATASET, at_most=2).unopened == frozenset()


def test_a_batch_that_was_erased_and_made_again_is_another_one(store: Store) -> None:
    """Its first version has the number that its first version had."""
    before = commit(store.chain(DATASET, BATCHES[0]), "art:a")
    store.heads(DATASET)
    store.files.delete_folder(f"{DATASET}/{BATCHES[0]}")
    assert store.heads(DATASET).by_batch == {}
    after = commit(store.chain(DATASET, BATCHES[0]), "art:b")
    assert after.version == before.version
    assert store.heads(DATASET).get(BATCHES[0]).content == after.content != before.content


def test_a_manifest_that_was_deleted_makes_the_one_before_it_the_newest(store: Store) -> None:
    chain = store.chain(DATASET, BATCHES[0])
    first = commit(chain, "art:a")
    second = commit(chain, "art:b")
    assert store.heads(DATASET).get(BATCHES[0]).version == second.version
    store.files.delete(chain.versions.path(second.version))
    assert store.heads(DATASET).get(BATCHES[0]).version == first.version


def test_a_damaged_manifest_is_a_fault_of_its_batch_and_not_remembered(store: Store) -> None:
    for batch in BATCHES:
        commit(store.chain(DATASET, batch), "art:a")
    path = store.chain(DATASET, BATCHES[1]).versions.path(1)
    good = store.files.read(path)
    with store.files.writing(path) as handle:
        handle.write(good.replace(b"art", b"fun"))
    heads = store.heads(DATASET)
    assert [batch for batch, head in heads.by_batch.items() if head.fault] == [BATCHES[1]]
    assert "does not hold what was committed" in heads.get(BATCHES[1]).fault
    with store.files.writing(path) as handle:
        handle.write(good)
    assert store.heads(DATASET).get(BATCHES[1]).version == 1


def test_a_store_of_a_newer_release_is_refused(store: Store) -> None:
    commit(store.chain(DATASET, BATCHES[0]), "art:a")
    path = store.chain(DATASET, BATCHES[0]).versions.path(1)
    newer = store.files.read(path).replace(b'"format_version": 2', b'"format_version": 3')
    with store.files.writing(path) as handle:
        handle.write(newer)
    with pytest.raises(FormatTooNew, match="Upgrade"):
        store.heads(DATASET)


def test_what_a_newer_release_remembers_is_no_way_around_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "data", tmp_path / "cache")
    commit(store.chain(DATASET, BATCHES[0]), "art:a")
    with monkeypatch.context() as newer:
        newer.setattr(heads_module, "TABLES", heads_module.TABLES.replace("format: 2", "format: 3"))
        store.heads(DATASET)
    path = Path(store.root) / store.chain(DATASET, BATCHES[0]).versions.path(1)
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b'"format_version": 2', b'"format_version": 3'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(FormatTooNew, match="Upgrade"):
        store.heads(DATASET)


@pytest.mark.parametrize("damage", ["deleted", "garbage", "folder gone", "other tables", "other release"])
def test_the_cache_may_be_lost_at_any_time(store: Store, damage: str) -> None:
    manifest = commit(store.chain(DATASET, BATCHES[0]), "art:a")
    before = store.heads(DATASET)
    database = store.cache / "heads.sqlite"
    if damage == "deleted":
        database.unlink()
    elif damage == "garbage":
        database.write_bytes(b"garbage" * 1000)
    elif damage == "folder gone":
        shutil.rmtree(store.cache)
    else:
        if damage == "other tables":
            database.unlink()
        with sqlite3.connect(database) as connection:
            connection.execute("create table if not exists heads (something text)")
            connection.execute("pragma user_version = 7")
            if damage == "other release":
                connection.execute("update heads set said = '[]'")
        connection.close()
    assert store.heads(DATASET) == before
    assert before.get(BATCHES[0]).content == manifest.content


def test_what_is_remembered_does_not_outgrow_the_store(store: Store) -> None:
    for batch in BATCHES:
        commit(store.chain(DATASET, batch), "art:a")
        commit(store.chain(DATASET, batch), "art:b")
        store.heads(DATASET)
    store.files.delete_folder(f"{DATASET}/{BATCHES[0]}")
    store.heads(DATASET)
    with sqlite3.connect(store.cache / "heads.sqlite") as connection:
        assert connection.execute("select batch from heads order by batch").fetchall() == [
            (each,) for each in BATCHES[1:]
        ]
    connection.close()


def test_strangers_among_the_folders_are_no_batches(store: Store) -> None:
    commit(store.chain(DATASET, BATCHES[0]), "art:a")
    for stranger in (f"{DATASET}/notes.txt", f"{DATASET}/a b/manifests/00000001.json", f"{DATASET}/empty/parts/x"):
        with store.files.writing(stranger) as handle:
            handle.write(b"{}")
    assert list(store.heads(DATASET).by_batch) == store.batches(DATASET) == BATCHES[:1]
