"""`.npy`: float32 (N, D) in C order, which `np.load(..., mmap_mode="r")` opens; row i is the vector of id i.

A folder gets the shape of a product catalogue: `<model>_embeddings.npy`, and `embedding_metadata.json` with the ids. A
file name gets that of numbered artwork: the file, and `<name>_ids.json` beside it unless the ids are 1, 2, … N, so that
row `id - 1` is theirs.
"""

import json
from pathlib import Path

import numpy as np

from embeddings_dagster.exports.job import NORM_TOLERANCE, Job, failed, model_id
from embeddings_dagster.exports.report import ExportReport
from embeddings_dagster.exports.rows import Rows, Wanted, select_rows
from embeddings_dagster.exports.staging import Staging, staged
from embeddings_dagster.exports.target import Target, default_folder, file_in
from embeddings_dagster.stages.context import StageContext

FORMAT = "npy"
SAMPLE = 100  # rows that are compared with the index


def export_npy(
    context: StageContext, wanted: Wanted | None = None, out: Path | None = None, *, force: bool = False
) -> ExportReport:
    """Write vectors to a folder, or a file whose name ends in `.npy`; default: `exports/<source>/<model>` in the store.

    Raises:
        UnknownItem, IndexUnavailable, BadQuery, CorruptFile: see `select_rows`.
        ExportRefused: it would go where it must not, or over a file of somebody else (`force` overwrites that).
        ExportFailed: no room, no permission, or the check failed.
        Stopped: a stop was asked for. After any of these, what was there before is as it was.
    """
    file_name = file_in(out, FORMAT)
    job = Job(context, FORMAT, select_rows(context, wanted or Wanted()))
    target = _target(context, job.rows, file_name, out)
    with staged(context, target, force=force) as staging:
        with staging.writing(target.data) as file:
            shape = (len(job.rows), job.rows.dimension)
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for block in job.blocks("vectors"):
                file.write(np.ascontiguousarray(block, "<f4").tobytes())
        if target.ids is not None and not job.rows.numbered:
            staging.write_json(target.ids, job.rows.ids)
        ids = {} if file_name else {"ids": job.rows.ids, "product_ids": job.rows.ids}
        staging.describe(model=model_id(job.rows), count=shape[0], **ids, dimension=shape[1], **job.said())
        _check(job, staging)
        return job.report(staging.put_in_place())


def _target(context: StageContext, rows: Rows, file_name: Path | None, out: Path | None) -> Target:
    name = rows.record.name
    if file_name is not None:
        description, ids = f"{file_name.stem}_info.json", f"{file_name.stem}_ids.json"
        return Target(file_name.parent, FORMAT, file_name.name, description, ids)
    folder = out or default_folder(context, rows.sources, name)
    return Target(folder, FORMAT, f"{name}_embeddings.npy", "embedding_metadata.json")


def _check(job: Job, staging: Staging) -> None:
    """Open what was written as its readers do, and compare it with the index.

    Raises:
        ExportFailed: it is not the same.
    """
    rows, target = job.rows, staging.target
    path = target.folder / target.data
    array = np.load(staging.path(target.data), mmap_mode="r", allow_pickle=False)
    if array.dtype != np.float32 or array.shape != (len(rows), rows.dimension) or not array.flags.c_contiguous:
        raise failed(path, f"{array.dtype} {array.shape}")
    for start in range(0, len(rows), rows.block_rows):
        job.check_stop()
        norms = np.linalg.norm(array[start : start + rows.block_rows], axis=1)
        if not (np.abs(norms - 1) <= NORM_TOLERANCE).all():
            raise failed(path, f"a row from {start} on is not of norm 1")
    sample = np.unique(np.linspace(0, len(rows) - 1, SAMPLE).astype(np.int64))
    if not np.array_equal(array[sample], rows.vectors(sample)):
        raise failed(path, "rows differ from the index")
    require_same_ids(staging, rows)


def require_same_ids(staging: Staging, rows: Rows) -> None:
    """Raises:
    ExportFailed: ids that were written are not one for each row, in order.
    """
    target = staging.target
    told = json.loads(staging.path(target.description).read_bytes())
    lists = [told[key] for key in ("ids", "product_ids") if key in told]
    if target.ids is not None and staging.path(target.ids).exists():
        listed = json.loads(staging.path(target.ids).read_bytes())
        lists.append(listed["product_ids"] if isinstance(listed, dict) else listed)
    if told.get("count", len(rows)) != len(rows) or any(each != rows.ids for each in lists):
        raise failed(target.folder / target.description, "its ids are not those of the rows")
    if len(set(rows.ids)) != len(rows):
        raise failed(target.folder / target.description, "an id has several rows")
