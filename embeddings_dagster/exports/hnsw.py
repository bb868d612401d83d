"""`hnsw_<model>_<D>.faiss`: an index over the rows of an export that plain faiss opens and searches.

Beside it stand `…_product_ids.json`, in the order of its rows, and `…_index.json` with what readers have to know.
How hard a search looks (`efSearch`) is in the file, as low as finds what exact search does: it is measured before the
export is put in place.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embeddings_dagster.errors import ExportFailed
from embeddings_dagster.exports.hnsw_graph import M, build_graph, distinct, with_copies
from embeddings_dagster.exports.job import Job, failed, model_id
from embeddings_dagster.exports.npy import require_same_ids
from embeddings_dagster.exports.report import ExportReport
from embeddings_dagster.exports.rows import Rows, Vectors, Wanted, select_rows
from embeddings_dagster.exports.staging import Staging, staged
from embeddings_dagster.exports.target import Target, default_folder, file_in
from embeddings_dagster.index.copies import Copies
from embeddings_dagster.index.library import library
from embeddings_dagster.stages.context import StageContext

FORMAT = "faiss"
ADDED_AT_ONCE = 1024  # rows between two looks at the stop event: about a second
QUERIES = 200
NEIGHBOURS = 10
RECALL, SELF = 0.95, 0.98  # at least: neighbours that exact search finds; rows that find themselves
SEARCHES = (64, 128, 256, 512, 1024)  # efSearch, tried in this order
TIE = 1e-5  # scores this close are the same: float32 sums differ by the order of adding


def export_faiss(
    context: StageContext, wanted: Wanted | None = None, out: Path | None = None, *, force: bool = False
) -> ExportReport:
    """Write an HNSW index to `hnsw_<model>_<D>.faiss` in a folder, or to a file whose name ends in `.faiss`; raises
    what `export_npy` does. Holds the index in memory: 4 D + 300 bytes a row."""
    file_name = file_in(out, FORMAT)
    job = Job(context, FORMAT, select_rows(context, wanted or Wanted()))
    target = _target(context, job.rows, file_name, out)
    with staged(context, target, force=force) as staging:
        index = _build(job)
        recall = _tune(job, index, target.folder / target.data)
        with staging.writing(target.data) as file:
            library().write_index(index, library().PyCallbackIOWriter(file.write))
        del index
        assert target.ids is not None
        staging.write_json(target.ids, {"product_ids": job.rows.ids})
        about = {"dimension": job.rows.dimension, "index_type": "HNSW", "metric": "inner_product"}
        said = {"count": len(job.rows), "m": M, "recall_at_10": recall, "model": model_id(job.rows), **job.said()}
        staging.describe(product_ids=job.rows.ids, **about, **said)
        _check(job, staging)
        return job.report(staging.put_in_place(), recall)


def _target(context: StageContext, rows: Rows, file_name: Path | None, out: Path | None) -> Target:
    if file_name is None:
        folder = out or default_folder(context, rows.sources, rows.record.name)
        file_name = folder / f"hnsw_{rows.record.name}_{rows.dimension}.faiss"
    stem = file_name.stem
    return Target(file_name.parent, FORMAT, file_name.name, f"{stem}_index.json", f"{stem}_product_ids.json")


def _build(job: Job) -> Any:
    copies = Copies.among(job.blocks("copies"))

    def pieces() -> Iterator[Vectors]:
        for block in distinct(job.blocks("graph"), copies):
            for start in range(0, len(block), ADDED_AT_ONCE):
                job.check_stop()
                yield block[start : start + ADDED_AT_ONCE]

    graph = build_graph(job.rows.dimension, pieces())
    return with_copies(graph, copies, job.rows.blocks()) if len(copies) else graph


def _tune(job: Job, index: Any, path: Path) -> float:
    """Set the index's `efSearch` to the lowest that finds enough; returns the recall at 10 it then has.

    Raises:
        ExportFailed: none does.
    """
    sample = np.unique(np.linspace(0, len(job.rows) - 1, QUERIES).astype(np.int64))
    queries = job.rows.vectors(sample)
    best = _exact(job, queries)
    for search in SEARCHES:
        index.hnsw.efSearch = search
        found, _ = index.search(queries, best.shape[1])
        recall = float((found >= best[:, -1:] - TIE).mean())
        itself = float((found[:, 0] >= best[:, 0] - TIE).mean())
        if recall >= RECALL and itself >= SELF:
            return round(recall, 4)
    raise ExportFailed(
        f"{path}: {itself:.0%} of a sample of rows find themselves, and {recall:.0%} of their neighbours are found, "
        "which is too little; it was not put in place. Export the vectors with `embeddings export npy` instead"
    )


def _exact(job: Job, queries: Vectors) -> Vectors:
    """The best scores of each query over all rows, best first, float32 (queries, at most `NEIGHBOURS`)."""
    best = np.empty((len(queries), 0), np.float32)
    for block in job.blocks("check"):
        both = np.concatenate([best, queries @ block.T], axis=1)
        best = -np.sort(-both, axis=1)[:, :NEIGHBOURS]
    return best


def _check(job: Job, staging: Staging) -> None:
    """Open what was written with plain faiss, and let a sample of rows find themselves in it.

    Raises:
        ExportFailed: it is not an index of these rows.
    """
    faiss, rows, target = library(), job.rows, staging.target
    path = target.folder / target.data
    index = faiss.read_index(str(staging.path(target.data)))
    if (index.ntotal, index.d, index.metric_type) != (len(rows), rows.dimension, faiss.METRIC_INNER_PRODUCT):
        raise failed(path, f"{index.ntotal:,} rows of dimension {index.d}")
    sample = np.unique(np.linspace(0, len(rows) - 1, QUERIES).astype(np.int64))
    vectors = rows.vectors(sample)
    scores, labels = index.search(vectors, 1)
    own = np.sum(vectors * rows.vectors(labels[:, 0]), axis=1)
    if not np.allclose(scores[:, 0], own, atol=TIE) or (own >= 1 - _slack(vectors)).mean() < SELF:
        raise failed(path, "rows do not find themselves")
    if json.loads(staging.path(target.ids or "").read_bytes()) != {"product_ids": rows.ids}:
        raise failed(target.folder / (target.ids or ""), "its ids are not those of the rows")
    require_same_ids(staging, rows)


def _slack(vectors: Vectors) -> npt.NDArray[np.float32]:
    """By how much a row's product with itself may fall short of 1."""
    short: npt.NDArray[np.float32] = np.abs(1 - np.sum(vectors * vectors, axis=1)) + np.float32(TIE)
    return short
