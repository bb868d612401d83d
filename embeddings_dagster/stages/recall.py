"""The recall of an index as it answers now: rows that it holds, searched for as searches do, against exact truth.

What a row finds beside itself is what counts. It lies in the graph, where a stranger does not, so it is found a little
more easily; what held-out rows and texts found when a segment was built is carried in the manifest, and shown beside.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.index import FLAT, Generation, Generations, Segment, SegmentEntry, SegmentRecall
from embeddings_dagster.index.recall import ONE_SIDED_99, K, recall_of, standard_error, summary
from embeddings_dagster.index.scores import Vector
from embeddings_dagster.stages.compact_plan import falls_short
from embeddings_dagster.stages.index_checks import CheckResult
from embeddings_dagster.store import Store

QUERIES = 200  # rows searched for; comparing each with a million rows takes 12 s on two cores
DIGITS = 4

Tick = Callable[[], None]


@dataclass(frozen=True)
class Measured:
    """Recall@10 of one segment, or of a generation: the mean with its standard error, and the mean of the worst tenth
    of the queries."""

    mean: float = 1.0
    worst_decile: float = 1.0
    queries: int = 0
    error: float = 0.0

    def is_below(self, target: float) -> bool:
        """Whether the queries show that the mean of all there could be is below: the upper end of the 99 % confidence
        interval is. Other rows are drawn with each refresh, and none may fail by the luck of the draw."""
        return self.mean + ONE_SIDED_99 * self.error < target


@dataclass(frozen=True)
class MeasuredSegment:
    """`kind` flat: exact, and not measured. `tuned`: what was found when it was built."""

    uuid: str
    kind: str
    rows: int
    recall: Measured
    tuned: SegmentRecall | None


@dataclass(frozen=True)
class IndexRecall:
    """`generation` is None where there is no index yet."""

    generation: int | None
    recall: Measured
    segments: tuple[MeasuredSegment, ...]


def index_recall(store: Store, model: str, identity: ModelIdentity, *, tick: Tick = lambda: None) -> IndexRecall:
    """Measure the newest generation, on up to `QUERIES` of its rows: the same ones for the same generation.

    `tick` is called often, and may raise.

    Raises:
        CorruptFile, MissingFile: a segment is damaged.
    """
    generations = Generations(store, model, identity.fp12)
    manifest = generations.latest()
    if manifest is None:
        return IndexRecall(None, Measured(), ())
    if all(entry.kind == FLAT for entry in manifest.segments if entry.live):
        segments = tuple(_segment(entry, Measured()) for entry in manifest.segments if entry.live)
        return IndexRecall(manifest.version, Measured(), segments)
    generation = Generation.open(generations, manifest)
    return _measure(generation, _sample(generation), tick)


def _segment(entry: SegmentEntry, recall: Measured) -> MeasuredSegment:
    return MeasuredSegment(entry.uuid, entry.kind, entry.live, recall, entry.recall)


class _Query(NamedTuple):
    """A live row: its segment's number, its label there, and its vector."""

    segment: int
    label: int
    vector: Vector


def _sample(generation: Generation) -> list[_Query]:
    """Rows drawn from all that are live, each as likely."""
    live = [np.flatnonzero(segment.live) for segment in generation.segments]
    ends = np.cumsum([len(labels) for labels in live])
    seed = hashlib.sha256(" ".join(segment.entry.uuid for segment in generation.segments).encode()).digest()[:8]
    drawn = np.random.default_rng(int.from_bytes(seed)).choice(ends[-1], min(QUERIES, ends[-1]), replace=False)
    queries = []
    for row in np.sort(drawn).tolist():
        number = int(np.searchsorted(ends, row, side="right"))
        label = int(live[number][row - (ends[number - 1] if number else 0)])
        queries.append(_Query(number, label, generation.segments[number].vector(label)))
    return queries


def _measure(generation: Generation, queries: Sequence[_Query], tick: Tick) -> IndexRecall:
    """Each segment alone, and what they come to together."""
    found: list[list[Vector]] = [[] for _ in queries]
    truth: list[list[Vector]] = [[] for _ in queries]
    segments = []
    for number, segment in enumerate(generation.segments):
        here = [_found(segment, query, query.segment == number, tick) for query in queries]
        true = here if segment.entry.kind == FLAT else _true(segment, number, queries, tick)
        recalls = [recall_of(one, other) for one, other in zip(here, true, strict=True)]
        measured = Measured() if segment.entry.kind == FLAT else _measured(recalls)
        segments.append(_segment(segment.entry, measured))
        for place, (one, other) in enumerate(zip(here, true, strict=True)):
            found[place].append(one)
            truth[place].append(other)
    together = [recall_of(_best(one), _best(other)) for one, other in zip(found, truth, strict=True)]
    return IndexRecall(generation.manifest.version, _measured(together), tuple(segments))


def _found(segment: Segment, query: _Query, is_own: bool, tick: Tick) -> Vector:
    """The scores of the `K` best rows that a search finds beside the query itself."""
    tick()
    labels, scores = segment.search(query.vector, K + 1, np.ones(len(segment), bool))
    return scores[labels != query.label][:K] if is_own else scores[:K]


def _true(segment: Segment, number: int, queries: Sequence[_Query], tick: Tick) -> list[Vector]:
    """The scores of the `K` best rows that there are beside each query itself, which is the best of all."""
    scores = segment.true_scores(np.stack([query.vector for query in queries]), K + 1, tick)
    ordered = -np.sort(-scores, axis=1)
    ranked = (row[1:] if query.segment == number else row[:K] for row, query in zip(ordered, queries, strict=True))
    return [row[np.isfinite(row)] for row in ranked]


def _best(scores: Sequence[Vector]) -> Vector:
    return np.sort(np.concatenate(scores))[-K:]


def _measured(recalls: Sequence[float]) -> Measured:
    mean, worst = summary(recalls)
    return Measured(round(mean, DIGITS), round(worst, DIGITS), len(recalls), round(standard_error(recalls), DIGITS))


def index_recall_meets_target(
    store: Store, model: str, identity: ModelIdentity, target: float, *, tick: Tick = lambda: None
) -> CheckResult:
    """Whether the newest generation, and each segment of it, finds on average as much as `target` says: rows now, and
    whatever else it was tuned on when it was built."""
    found = index_recall(store, model, identity, tick=tick)
    short = [line for segment in found.segments for line in _shortfalls(segment, target)]
    if found.recall.is_below(target):
        short.append(f"the whole index finds {found.recall.mean} of the true ten")
    detail = {
        "generation": found.generation,
        "target": target,
        **asdict(found.recall),
        "segments": [_segment_detail(segment) for segment in found.segments],
    }
    if short:
        return CheckResult(
            False, f"recall@{K} below {target}: {'; '.join(short)}. {_remedy(found, target)}", detail=detail
        )
    if not found.recall.queries:
        return CheckResult(True, "every search is exact", detail=detail)
    said = f"recall@{K} {found.recall.mean}, worst tenth {found.recall.worst_decile}, asked for {target}"
    return CheckResult(True, said, detail=detail)


def _remedy(found: IndexRecall, target: float) -> str:
    anew = "`embeddings index compact` builds it anew with what the settings ask for now"
    if any(falls_short(segment.tuned, target) for segment in found.segments):
        return anew
    return f"Raise `index.recall_target`; then {anew}"


def _shortfalls(segment: MeasuredSegment, target: float) -> Iterator[str]:
    if segment.recall.is_below(target):
        yield f"segment {segment.uuid[:8]} finds {segment.recall.mean}"
    for kind in segment.tuned.kinds if segment.tuned else ():
        if kind.mean < target:
            yield f"segment {segment.uuid[:8]} was tuned to {kind.mean} for {kind.kind}"


def _segment_detail(segment: MeasuredSegment) -> dict[str, object]:
    tuned = {kind.kind: {"mean": kind.mean, "worst_decile": kind.worst_decile, "queries": kind.queries, "ef": kind.ef}
             for kind in (segment.tuned.kinds if segment.tuned else ())}  # fmt: skip
    about = {"uuid": segment.uuid, "kind": segment.kind, "rows": segment.rows}
    return {**about, **asdict(segment.recall), "tuned": tuned}
