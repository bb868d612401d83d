from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from embeddings_dagster.errors import NotExclusive
from embeddings_dagster.ids import Key
from embeddings_dagster.store import Store
from embeddings_dagster_tests.store.helpers import DATASET, chain_of, commit, failure, said, writer_of


class LookThenWrite(MemoryFileSystem):  # type: ignore[misc]
    """A file system with fsspec's own fallback: it looks whether a file exists, and writes it then."""

    protocol = "lookthenwrite"
    pipe_file = AbstractFileSystem.pipe_file


class Overwriting(MemoryFileSystem):  # type: ignore[misc]
    """A file system that takes `mode="create"` and does not do it."""

    protocol = "overwriting"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("overwriting://", "memory://")))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        super().pipe_file(path, value, mode="overwrite", **kwargs)


@pytest.fixture
def remote(tmp_path: Path) -> Store:
    return Store.open(f"memory://{tmp_path}", tmp_path / "cache")


def test_a_store_on_an_object_store_says_what_a_local_one_says(remote: Store, store: Store) -> None:
    manifests = [
        commit(chain_of(each), *(f"art:{n}" for n in range(20)), failures=(failure("art:x"),))
        for each in (remote, store)
    ]
    assert manifests[0].content == manifests[1].content
    assert said(chain_of(remote), manifests[0]) == said(chain_of(store), manifests[1])
    assert len(manifests[0].parts) == 1
    assert remote.batches(DATASET) == store.batches(DATASET)
    assert remote.datasets() == [DATASET]
    assert remote.verify() == []


def test_a_damaged_or_missing_object_is_found(remote: Store) -> None:
    manifest = commit(chain_of(remote), "art:1")
    (path,) = chain_of(remote).files(manifest)
    data = bytearray(remote.files.read(path))
    data[len(data) // 2] ^= 4
    with remote.files.writing(path) as handle:
        handle.write(bytes(data))
    assert [(each.file, "does not hold" in each.reason) for each in remote.verify()] == [(path, True)]
    remote.files.delete(path)
    assert [(each.file, each.reason) for each in remote.verify()] == [(path, "is missing")]


def test_vectors_are_found_on_an_object_store(remote: Store) -> None:
    commit(chain_of(remote), "art:1", "art:2", "art:3")
    lookup = remote.vectors("tiny", "0123456789ab")
    lookup.sync()
    assert lookup.find(["hash-art:2", "unknown"]).keys() == {"hash-art:2"}


@pytest.mark.parametrize("kind", [LookThenWrite, Overwriting])
def test_storage_that_cannot_create_exclusively_is_refused_for_writing(kind: type, tmp_path: Path) -> None:
    fsspec.register_implementation(kind.protocol, kind, clobber=True)
    store = Store.open(f"{kind.protocol}://{tmp_path}", tmp_path / "cache")
    with pytest.raises(NotExclusive, match="Use a local disk, or an object store with conditional writes"):
        writer_of(chain_of(store))
    with pytest.raises(NotExclusive, match="two writers"):
        store.ledger("art").commit(None, {}, run_id="run")
    assert store.files.names("") == []


def test_storage_that_cannot_create_exclusively_can_still_be_read(tmp_path: Path) -> None:
    fsspec.register_implementation("overwriting", Overwriting, clobber=True)
    commit(chain_of(Store.open(f"memory://{tmp_path}", tmp_path / "cache")), "art:1")
    reader = chain_of(Store.open(f"overwriting://{tmp_path}", tmp_path / "cache"))
    assert said(reader, reader.latest()) == {Key("art:1", 0): "hash-art:1"}
