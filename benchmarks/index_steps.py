"""One measurement in a process of its own: the name of a step, the folder, the project and its rows; figures as JSON.

python benchmarks/index_steps.py STEP WORK PROJECT ROWS
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from encoding_clock import Figures, measured, remembered
from index_contestants import contest, filters
from index_project import BATCH, MODEL, POPULATION, Project

OPENINGS = 15
QUERIES = 100
WITH_RECORDS = 100_000
TEXTS = 256  # that a graph is tuned on
LESS = "a text, less its encoding"


def fill(project: Project, rows: int) -> Figures:
    """The vectors, and up to a hundred thousand also the records, without an index."""
    project.fill(rows, records=rows <= WITH_RECORDS)
    return {}


def build(project: Project, rows: int) -> Figures:
    """From manifests to the committed generation, from nothing."""
    from embeddings_dagster.stages.index import refresh_index

    project.forget_index()
    _imported(project)
    figures: Figures = {}
    with remembered(figures), measured(figures):
        report = refresh_index(project.context, MODEL, project.identity)
    manifest = project.generations.latest()
    assert manifest is not None
    segments = [
        {"kind": each.kind, "rows": each.rows, "recall": each.recall and each.recall.to_document()}
        for each in manifest.segments
    ]
    return {**figures, "rows": report.rows, "bytes": report.bytes_written, "segments": segments}


def one_more(project: Project, rows: int) -> Figures:
    """A hundredth of the rows is new: whole batches, as a scraper leaves them."""
    count = rows // 100
    vectors, clusters = POPULATION.pictures(count, seed=int(time.time()))
    first = len(project.store.batches("raw_images"))
    for number, start in enumerate(range(0, count, BATCH)):
        some = slice(start, start + BATCH)
        project.write_records(first + number, clusters[some])
        project.write_vectors(first + number, vectors[some])
    return _refreshed(project)


def one_changed(project: Project, rows: int) -> Figures:
    """A hundredth of the rows has changed: whole batches, encoded anew."""
    from embeddings_dagster.stages.catalog import refresh_catalog

    count, state = rows // 100, str(time.time())
    vectors, _ = POPULATION.pictures(count, seed=int(time.time()))
    for number, start in enumerate(range(0, count, BATCH)):
        project.write_vectors(number, vectors[start : start + BATCH], state)
    figures = _refreshed(project)
    refresh_catalog(project.context)  # what the step before brought, so that it is as new as the index
    return figures


def _refreshed(project: Project) -> Figures:
    from embeddings_dagster.stages.index import refresh_index

    _imported(project)
    figures: Figures = {}
    with remembered(figures), measured(figures):
        report = refresh_index(project.context, MODEL, project.identity)
    return {**figures, "inserted": report.inserted, "updated": report.updated}


def _imported(project: Project) -> None:
    """Load what a first refresh of a process would, and let graphs be tuned on texts that belong to the vectors: the
    model's own, whose weights are random, have nothing to do with them."""
    import faiss  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from embeddings_dagster.stages import index_segments

    project.generations.numbers()
    texts = POPULATION.texts(TEXTS, seed=303)
    index_segments.text_queries = lambda *_: texts


def compact(project: Project, rows: int) -> Figures:
    """Merging what the refreshes left."""
    from embeddings_dagster.stages.compact import compact_index

    _imported(project)
    before = project.generations.latest()
    assert before is not None
    figures: Figures = {}
    with remembered(figures), measured(figures):
        report = compact_index(project.context, MODEL, project.identity)
    return {**figures, "report": report.as_dict()}


def opening(project: Project, rows: int) -> Figures:
    """Opening the newest generation, every file of it verified by an earlier process; and the first search."""
    project.generation().search(np.ones(project.identity.dimension, np.float32), 10)
    cpu, wall, first = [], [], []
    for _ in range(OPENINGS):
        started, spent = time.perf_counter(), time.process_time()
        generation = project.generation()
        wall.append((time.perf_counter() - started) * 1000)
        cpu.append((time.process_time() - spent) * 1000)
        started = time.perf_counter()
        generation.search(np.ones(project.identity.dimension, np.float32), 10)
        first.append((time.perf_counter() - started) * 1000)
    return {"cpu_ms": cpu, "wall_ms": wall, "first_search_ms": first}


def service(project: Project, rows: int) -> Figures:
    """From a question to its answer, with records and locations: warm, milliseconds of CPU, by what is asked."""
    from threadpoolctl import threadpool_limits

    from embeddings_dagster.search import SearchService

    asked = SearchService(project.settings, project.store)
    pictures, _ = POPULATION.pictures(QUERIES, seed=301)
    questions: dict[str, Callable[[int], object]] = {
        "a vector": lambda n: asked.search(vector=pictures[n]),
        "a text": lambda n: asked.search(f"<unk> red {n}"),
        "a vector, among half": lambda n: asked.search(vector=pictures[n], where=["share<0.5"]),
        "a vector, among one in 20": lambda n: asked.search(vector=pictures[n], where=["share<0.05"]),
        "a vector, among one in 2,000": lambda n: asked.search(vector=pictures[n], where=["share<0.0005"]),
        "a vector, of one brand": lambda n: asked.search(vector=pictures[n], where=["brand=Brand 7"]),
        "an id": lambda n: asked.search(image_id=f"shop:{n * 97:08d}"),
        "100 hits": lambda n: asked.search(vector=pictures[n], k=100),
    }
    asked.search("<unk> red")  # loads the model, and with it the threads that are to be one
    encoding = _timed_encoding()
    found: dict[str, list[float]] = {name: [] for name in [*questions, LESS]}
    with threadpool_limits(1):
        for ask in questions.values():
            ask(0)
        for number in range(QUERIES):
            for name, ask in questions.items():
                encoding.clear()
                before = time.process_time()
                ask(number)
                spent = time.process_time() - before
                found[name].append(spent * 1000)
                if encoding:
                    found[LESS].append((spent - sum(encoding)) * 1000)
    return dict(found)


def _timed_encoding() -> list[float]:
    """What texts take to be encoded in searches from now on, in CPU-seconds."""
    from embeddings_dagster.search.encoding import Encoders

    spent: list[float] = []
    encode = Encoders.texts

    def timed(*arguments: object) -> object:
        before = time.process_time()
        vectors = encode(*arguments)  # type: ignore[arg-type]
        if vectors:
            spent.append(time.process_time() - before)
        return vectors

    Encoders.texts = timed  # type: ignore[method-assign,assignment]
    return spent


STEPS: dict[str, Callable[[Project, int], Figures]] = {
    "fill": fill,
    "build": build,
    "one_more": one_more,
    "one_changed": one_changed,
    "compact": compact,
    "opening": opening,
    "contest": lambda project, rows: contest(project, libraries=rows <= WITH_RECORDS),
    "filters": lambda project, rows: filters(project),
    "service": service,
}

if __name__ == "__main__":
    step, work, name, count = sys.argv[1:]
    print(json.dumps(STEPS[step](Project.open(Path(work), name), int(count))))
