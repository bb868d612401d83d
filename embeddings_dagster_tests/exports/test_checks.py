"""What was written is opened again and compared; what differs is named, and not put in place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from embeddings_dagster.errors import ExportFailed
from embeddings_dagster.exports import Wanted, export_npy, hnsw, npy, web_json
from embeddings_dagster.exports.job import Job
from embeddings_dagster.exports.rows import select_rows
from embeddings_dagster.exports.staging import Staging, staged
from embeddings_dagster.exports.target import Target
from embeddings_dagster.stages.models import change_registry
from embeddings_dagster_tests.exports.shelf import Shelf, read

IDS = ["1", "2", "4"]


@contextmanager
def staging_of(
    shelf: Shelf, format: str, write: Callable[[Path], None], ids: list[str]
) -> Iterator[tuple[Job, Staging]]:
    """An export of which something else was written than the rows."""
    job = Job(shelf.context, format, select_rows(shelf.context, Wanted()))
    target = Target(shelf.root / "out", format, f"art.{format}", "art_info.json", "art_ids.json")
    with staged(shelf.context, target, force=False) as staging:
        write(staging.path(target.data))
        staging.write_json("art_ids.json", {"product_ids": ids})
        staging.describe(count=len(ids))
        yield job, staging
    assert not (shelf.root / "out").exists()


@pytest.fixture
def filled(shelf: Shelf) -> Shelf:
    shelf.put("art:1", "art:2", "art:4")
    return shelf


def vectors(shelf: Shelf) -> np.ndarray:
    return np.array([shelf.vector(f"art:{number}") for number in IDS])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows.astype(np.float64), r"float64 \(3, 8\)"),
        (lambda rows: rows[:2], r"float32 \(2, 8\)"),
        (lambda rows: np.asfortranarray(rows), r"float32 \(3, 8\)"),
        (lambda rows: rows * 2, "not of norm 1"),
        (lambda rows: rows * np.nan, "not of norm 1"),
        (lambda rows: rows[::-1].copy(), "rows differ from the index"),
    ],
)
def test_an_array_that_is_not_the_rows_is_found(
    filled: Shelf, change: Callable[[np.ndarray], np.ndarray], reason: str
) -> None:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, change(vectors(filled)))

    with (
        pytest.raises(ExportFailed, match=rf"out/art.npy: .*{reason}.*it was not put in place"),
        staging_of(filled, "npy", write, IDS) as (job, staging),
    ):
        npy._check(job, staging)


@pytest.mark.parametrize("ids", [["1", "2"], ["2", "1", "4"], ["1", "2", "3"]])
def test_ids_that_are_not_those_of_the_rows_are_found(filled: Shelf, ids: list[str]) -> None:
    def write(path: Path) -> None:
        np.save(path, vectors(filled))

    with (
        pytest.raises(ExportFailed, match=r"art_info.json: .*ids are not those of the rows"),
        staging_of(filled, "npy", write, ids) as (job, staging),
    ):
        npy._check(job, staging)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("[\n", "[", 1), "does not begin"),
        (lambda text: text[:-2] + ",[1]]\n", "does not end"),
        (lambda text: text.replace("0.", "0.0", 1), "rows differ"),
    ],
)
def test_json_that_is_not_the_rows_is_found(filled: Shelf, change: Callable[[str], str], reason: str) -> None:
    def write(path: Path) -> None:
        lines = b",\n".join(web_json._lines(vectors(filled)))
        path.write_text(change(f"[\n{lines.decode()}\n]\n"))

    with (
        pytest.raises(ExportFailed, match=rf"art.json: .*{reason}"),
        staging_of(filled, "json", write, IDS) as (job, staging),
    ):
        web_json._check(job, staging)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda rows: _graph(rows[:2]), "2 rows of dimension 8"),
        (lambda rows: _graph(rows, faiss.METRIC_L2), "3 rows of dimension 8"),
        (lambda rows: _graph(np.eye(8, dtype=np.float32)[:3]), "rows do not find themselves"),
        (lambda rows: _graph(rows[::-1].copy()), "rows do not find themselves"),
    ],
)
def test_an_index_that_is_not_of_the_rows_is_found(
    filled: Shelf, make: Callable[[np.ndarray], object], reason: str
) -> None:
    def write(path: Path) -> None:
        faiss.write_index(make(vectors(filled)), str(path))

    with (
        pytest.raises(ExportFailed, match=rf"art.faiss: .*{reason}"),
        staging_of(filled, "faiss", write, IDS) as (job, staging),
    ):
        hnsw._check(job, staging)


def _graph(rows: np.ndarray, metric: int = faiss.METRIC_INNER_PRODUCT) -> object:
    index = faiss.IndexHNSWFlat(rows.shape[1], 32, metric)
    index.add(rows)
    return index


def test_a_graph_that_finds_too_little_is_not_put_in_place(filled: Shelf) -> None:
    job = Job(filled.context, "faiss", select_rows(filled.context, Wanted()))
    with pytest.raises(ExportFailed, match=r"x.faiss: 0% of a sample of rows find themselves.*export npy"):
        hnsw._tune(job, _graph(-vectors(filled)), Path("x.faiss"))


@pytest.mark.parametrize("scale", [0, 2, np.nan, np.inf])
def test_a_vector_in_the_index_that_is_not_of_norm_1_is_named(shelf: Shelf, scale: float) -> None:
    bad = shelf.vector("art:bad") * np.float32(scale)
    shelf.vector = lambda image, region=0: bad if image == "art:bad" else np.eye(8)[0]  # type: ignore[method-assign]
    shelf.put("art:a", "art:bad", "art:c")
    with pytest.raises(ExportFailed, match=r"^bad: its vector in the index has norm .*, not 1; nothing was exported"):
        export_npy(shelf.context, None, shelf.root / "out")
    assert not (shelf.root / "out").exists()


def test_vectors_of_a_model_that_does_not_scale_them_are_those_of_the_index_and_say_so(filled: Shelf) -> None:
    network = {"architecture": "own.py:make", "dimension": 8, "normalised": False}

    def change(body: dict[str, Any]) -> None:
        (record,) = body["records"]
        body["records"] = [{**record, "settings": {**record["settings"], "network": network}}]

    change_registry(filled.store, "clip", change)
    report = export_npy(filled.context, None, filled.root / "art.npy")
    assert report.scaled
    assert read(filled.root / "art_info.json")["scaled"] is True
    np.testing.assert_allclose(np.linalg.norm(np.load(filled.root / "art.npy"), axis=1), 1, atol=1e-6)
