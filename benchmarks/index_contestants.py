"""What one query costs: ours, exact FAISS, hnswlib and usearch, on the same vectors, in one thread, taking turns.

The libraries are set as ours is: 32 links, the same care when building, and the least breadth of search from a ladder
that finds .95 of the ten nearest, of pictures as of texts. Ours chose its own when the segment was built, on rows that
it held out and on texts, and is measured whole: from a vector to hits with ids and scores of float32.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from encoding_clock import Figures, measured
from index_project import POPULATION, Project
from index_vectors import Vectors

from embeddings_dagster.index.graph import EF_CONSTRUCTION, NEIGHBOURS

K = 10
TARGET = 0.95
LADDER = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
QUERIES = 300  # of each kind
FEW = 50  # of them among a million rows, of which each exact answer takes a fifth of a second
ROUNDS = 5

Search = Callable[[Vectors], list[int]]  # a query (D,) in, the rows of its ten nearest out


@dataclass(frozen=True)
class Truth:
    """Queries of both kinds, and the rows of the ten nearest of each, (queries, 10)."""

    queries: Vectors
    nearest: np.ndarray
    texts: np.ndarray  # bool (queries,)

    @classmethod
    def of(cls, vectors: Vectors, count: int) -> "Truth":
        pictures, _ = POPULATION.pictures(count, seed=101)
        queries = np.concatenate([pictures, POPULATION.texts(count, seed=102)])
        nearest = [np.argsort(-(vectors @ query), kind="stable")[:K] for query in queries]
        return cls(queries, np.array(nearest), np.arange(len(queries)) >= count)

    def recall(self, search: Search) -> Figures:
        """|found ∩ nearest| / 10: the mean of each kind, and of the tenth of all queries where it is least."""
        shares = np.array(
            [len(set(search(query)) & set(near)) / K for query, near in zip(self.queries, self.nearest, strict=True)]
        )
        worst = np.sort(shares)[: len(shares) // 10].mean()
        return {"pictures": shares[~self.texts].mean(), "texts": shares[self.texts].mean(), "worst": worst}


@dataclass
class Contestant:
    """`breadth` sets how broadly it searches; None: it needs none, or has set itself."""

    search: Search
    breadth: Callable[[int], None] | None = None
    build: Figures | None = None


def contest(project: Project, *, libraries: bool) -> Figures:
    """Milliseconds of CPU a query, recall and building of each; with `libraries`, also of others than FAISS."""
    from threadpoolctl import threadpool_limits

    generation = project.generation()
    vectors = np.concatenate([segment.vectors(slice(None)) for segment in generation.segments])
    truth = Truth.of(vectors, QUERIES if libraries else FEW)
    contestants = {"exact FAISS": exact(vectors), "ours": ours(project)}
    if libraries:
        contestants |= {"hnswlib": hnswlib_one(vectors), "usearch": usearch_one(vectors)}
    found: Figures = {"rows": len(vectors)}
    with threadpool_limits(1):
        for name, each in contestants.items():
            found[name] = {**_tuned(each, truth), "build": each.build or {}, "ms": []}
        order = np.random.default_rng(5).permutation(len(truth.queries))
        for _ in range(ROUNDS):
            for name, each in contestants.items():
                found[name]["ms"].append(_milliseconds(each.search, truth.queries[order]))
    return found


def _tuned(contestant: Contestant, truth: Truth) -> Figures:
    if contestant.breadth is None:
        return {"breadth": None, **truth.recall(contestant.search)}
    for breadth in LADDER:
        contestant.breadth(breadth)
        recall = truth.recall(contestant.search)
        if min(recall["pictures"], recall["texts"]) >= TARGET:
            break
    return {"breadth": breadth, **recall}


def _milliseconds(search: Search, queries: Vectors) -> float:
    before = time.process_time()
    for query in queries:
        search(query)
    return (time.process_time() - before) * 1000 / len(queries)


def exact(vectors: Vectors) -> Contestant:
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.omp_set_num_threads(1)
    return Contestant(lambda query: index.search(query[np.newaxis], K)[1][0].tolist())


def ours(project: Project) -> Contestant:
    generation = project.generation()
    places = {}
    for segment in generation.segments:
        for image_id in segment.rows.column("image_id").to_pylist():
            places[image_id] = len(places)
    return Contestant(lambda query: [places[hit.image_id] for hit in generation.search(query, K)])


def hnswlib_one(vectors: Vectors) -> Contestant:
    import hnswlib

    index, build = hnswlib.Index("ip", vectors.shape[1]), Figures()
    with measured(build):
        index.init_index(len(vectors), ef_construction=EF_CONSTRUCTION, M=NEIGHBOURS)
        index.add_items(vectors)
    index.set_num_threads(1)
    return Contestant(lambda query: index.knn_query(query, K)[0][0].tolist(), index.set_ef, build)


def usearch_one(vectors: Vectors) -> Contestant:
    from usearch.index import Index

    build: Figures = {}
    with measured(build):
        index = Index(
            ndim=vectors.shape[1], metric="ip", dtype="f16", connectivity=NEIGHBOURS, expansion_add=EF_CONSTRUCTION
        )
        index.add(np.arange(len(vectors)), vectors)

    def broaden(breadth: int) -> None:
        index.expansion_search = breadth

    return Contestant(lambda query: index.search(query, K, threads=1).keys.tolist(), broaden, build)


def filters(project: Project, queries: int = 40) -> Figures:
    """Recall and cost of a search among a share of the rows: drawn evenly, the rows that lie nearest to the query's
    cluster, and those that lie farthest; ours, and the graph of the same file with faiss's own selector.
    """
    import faiss

    from embeddings_dagster.index import Selection

    generation = project.generation()
    (segment,) = generation.segments
    path = Path(project.store.root) / project.generations.path(segment.entry.path("index.faiss"))
    graph = faiss.read_index(str(path))
    vectors = np.asarray(segment.vectors(slice(None)))
    breadth = segment.entry.recall.ef if segment.entry.recall else 64
    faiss.omp_set_num_threads(1)
    pictures, _ = POPULATION.pictures(queries // 2, seed=201)
    asked = np.concatenate([pictures, POPULATION.texts(queries // 2, seed=202)])
    found: Figures = {}
    for kind in ("drawn evenly", "nearest to the query", "farthest from it"):
        for share in (0.5, 0.05, 0.005, 0.0005):
            recalls, cpu = {"ours": [], "selector": []}, {"ours": 0.0, "selector": 0.0}
            for number, query in enumerate(asked):
                mask = _mask(kind, share, vectors, query, number)
                rows = np.flatnonzero(mask)
                near = set(rows[np.argsort(-(vectors[rows] @ query))[:K]].tolist())
                before = time.process_time()
                hits = generation.search(query, K, Selection((mask,)))
                cpu["ours"] += time.process_time() - before
                labels = {segment.labels(hit.image_id)[hit.region] for hit in hits}
                recalls["ours"].append(len(labels & near) / len(near))
                before = time.process_time()
                selector = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
                parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=breadth)
                labels = set(graph.search(query[np.newaxis], K, params=parameters)[1][0].tolist())
                cpu["selector"] += time.process_time() - before
                recalls["selector"].append(len(labels & near) / len(near))
            found[f"{kind}|{share}"] = {
                name: {"recall": float(np.mean(recalls[name])), "ms": cpu[name] * 1000 / len(asked)} for name in cpu
            }
    return found


def _mask(kind: str, share: float, vectors: Vectors, query: Vectors, number: int) -> np.ndarray:
    count = round(share * len(vectors))
    if kind == "drawn evenly":
        chosen = np.random.default_rng(number).choice(len(vectors), count, replace=False)
    else:
        scores = vectors @ query
        order = np.argpartition(scores, count if kind == "farthest from it" else len(scores) - count)
        chosen = order[:count] if kind == "farthest from it" else order[-count:]
    mask = np.zeros(len(vectors), bool)
    mask[chosen] = True
    return mask
