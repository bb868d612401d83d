"""`.json` for a web page: an array of N vectors, a line each, and `<name>_metadata.json` `{count, dimensions,
description}` beside it.

Numbers have nine significant digits, which is what it takes to read any float32 back to the bit.
"""

import json
from pathlib import Path

import numpy as np

from embeddings_dagster.exports.job import Job, failed, model_id
from embeddings_dagster.exports.npy import require_same_ids
from embeddings_dagster.exports.report import ExportReport
from embeddings_dagster.exports.rows import Rows, Vectors, Wanted, select_rows
from embeddings_dagster.exports.staging import Staging, staged
from embeddings_dagster.exports.target import Target, default_folder, file_in
from embeddings_dagster.stages.context import StageContext

FORMAT = "json"


def export_json(
    context: StageContext, wanted: Wanted | None = None, out: Path | None = None, *, force: bool = False
) -> ExportReport:
    """Write vectors to `<model>_embeddings.json` in a folder, or to a file whose name ends in `.json`; raises what
    `export_npy` does. Ids are in the description, unless they are 1, 2, … N."""
    file_name = file_in(out, FORMAT)
    job = Job(context, FORMAT, select_rows(context, wanted or Wanted()))
    target = _target(context, job.rows, file_name, out)
    with staged(context, target, force=force) as staging:
        with staging.writing(target.data) as file:
            between = b"[\n"
            for block in job.blocks("vectors"):
                for line in _lines(block):
                    file.write(between + line)
                    between = b",\n"
            file.write(b"\n]\n")
        ids = {} if job.rows.numbered else {"ids": job.rows.ids}
        count, dimension = len(job.rows), job.rows.dimension
        about = {"count": count, "dimensions": dimension, "description": _description(job.rows)}
        staging.describe(**about, **ids, model=model_id(job.rows), **job.said())
        _check(job, staging)
        return job.report(staging.put_in_place())


def _target(context: StageContext, rows: Rows, file_name: Path | None, out: Path | None) -> Target:
    name = rows.record.name
    if file_name is not None:
        return Target(file_name.parent, FORMAT, file_name.name, f"{file_name.stem}_metadata.json")
    folder = out or default_folder(context, rows.sources, name)
    return Target(folder, FORMAT, f"{name}_embeddings.json", f"{name}_embeddings_metadata.json")


def _lines(block: Vectors) -> list[bytes]:
    pattern = f"[{','.join(['%.9g'] * block.shape[1])}]"
    return [(pattern % tuple(row)).encode("ascii") for row in block.tolist()]


def _description(rows: Rows) -> str:
    order = "row i is the vector of id i + 1" if rows.numbered else "row i is the vector of ids[i]"
    return f"{rows.dimension}-dimensional vectors of {model_id(rows)}, L2 norm 1, in natural order of ids; {order}"


def _check(job: Job, staging: Staging) -> None:
    """Read every line back and compare it with the index, to the bit.

    Raises:
        ExportFailed: it is not the same.
    """
    target = staging.target
    path = target.folder / target.data
    with staging.path(target.data).open("rb") as file:
        if file.readline() != b"[\n":
            raise failed(path, "it does not begin as an array of lines")
        for block in job.blocks("check"):
            read = [json.loads(file.readline().rstrip(b",\n")) for _ in block]
            if not np.array_equal(np.array(read, np.float32), block):
                raise failed(path, "rows differ from the index")
        if file.read() != b"]\n":
            raise failed(path, "it does not end as an array")
    require_same_ids(staging, job.rows)
