"""The files of a segment are what any other tool expects them to be."""

import hashlib
from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest

from embeddings_dagster.errors import StoreError
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Generations, discard_segment, write_deletions, write_segment
from embeddings_dagster_tests.index.helpers import DIMENSION, block, pictures, segment, vector

KEYS = [*pictures(3), Key("art:p003.png", 0), Key("art:p003.png", 1)]


def folder_of(generations: Generations, uuid: str) -> Path:
    return Path(generations.store.root) / generations.folder / "segments" / uuid


def test_plain_faiss_opens_the_index(generations: Generations) -> None:
    folder = folder_of(generations, segment(generations, KEYS).uuid)
    index = faiss.read_index(str(folder / "index.faiss"))
    assert isinstance(index, faiss.IndexFlatIP)
    assert (index.ntotal, index.d, index.metric_type) == (5, DIMENSION, faiss.METRIC_INNER_PRODUCT)
    assert index.search(vector("art:p002.png/0")[np.newaxis], 1)[1] == [[2]]


def test_numpy_opens_the_vectors_without_pickle(generations: Generations) -> None:
    folder = folder_of(generations, segment(generations, KEYS).uuid)
    vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    assert vectors.dtype == np.float32
    assert vectors.flags["C_CONTIGUOUS"]
    assert np.array_equal(vectors, [vector(f"{key.image_id}/{key.region}") for key in KEYS])


def test_rows_carry_their_labels_in_order(generations: Generations) -> None:
    files, keys = generations.store.files, pictures(4)
    blocks = [block(keys[:3], "art__0001"), block(keys[3:], "art__0002")]
    write_segment(files, generations.folder, "name", DIMENSION, 4, blocks)
    assert pq.read_table(folder_of(generations, "name") / "rows.parquet").to_pylist() == [
        {"label": 0, "image_id": "art:p000.png", "region": 0, "input_hash": "art:p000.png/0", "batch": "art__0001"},
        {"label": 1, "image_id": "art:p001.png", "region": 0, "input_hash": "art:p001.png/0", "batch": "art__0001"},
        {"label": 2, "image_id": "art:p002.png", "region": 0, "input_hash": "art:p002.png/0", "batch": "art__0001"},
        {"label": 3, "image_id": "art:p003.png", "region": 0, "input_hash": "art:p003.png/0", "batch": "art__0002"},
    ]


def test_the_entry_promises_the_bytes_on_disk(generations: Generations) -> None:
    entry = segment(generations, KEYS)
    for name, promised in entry.files.items():
        data = (folder_of(generations, entry.uuid) / name).read_bytes()
        assert promised == (len(data), hashlib.sha256(data).hexdigest())
    assert set(entry.files) == {"index.faiss", "vectors.npy", "rows.parquet"}


@pytest.mark.parametrize("announced", [4, 6])
def test_refuses_another_number_of_rows_than_announced(generations: Generations, announced: int) -> None:
    with pytest.raises(StoreError, match=f"5 vectors where {announced} were announced"):
        write_segment(generations.store.files, generations.folder, "name", DIMENSION, announced, [block(KEYS)])
    assert not (folder_of(generations, "name") / "vectors.npy").exists()


def test_refuses_vectors_of_another_dimension(generations: Generations) -> None:
    with pytest.raises(StoreError, match=r"shape \(5, 8\), not \(5, 16\)"):
        write_segment(generations.store.files, generations.folder, "name", 16, 5, [block(KEYS)])


def test_discarding_leaves_no_file(generations: Generations) -> None:
    entry = segment(generations, KEYS)
    discard_segment(generations.store.files, generations.folder, entry.uuid)
    assert list(folder_of(generations, entry.uuid).iterdir()) == []


def test_deletions_are_an_ascending_npy(generations: Generations) -> None:
    entry = write_deletions(generations.store.files, generations.folder, np.array([1, 4], np.int64))
    path = Path(generations.store.root) / generations.folder / entry.file
    assert np.load(path, allow_pickle=False).tolist() == [1, 4]
    assert (entry.rows, entry.bytes) == (2, path.stat().st_size)
    assert entry.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
