"""The search service: a question in, the closest images out, from one generation of each model's index.

A picture that is searched for goes through the same decoding and the same encoder as those in the index, with the very
model that made their vectors, so a picture finds itself with a score of 1.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy.typing as npt

from embeddings_dagster import ids
from embeddings_dagster.catalog import Condition, Facet
from embeddings_dagster.errors import BadQuery, IndexUnavailable, MissingFile, StoreError, UnknownItem
from embeddings_dagster.ids import Regions
from embeddings_dagster.search.combining import combine, with_known_ids
from embeddings_dagster.search.copies import (
    Clusters,
    Known,
    LoadClusters,
    OpenedClusters,
    hashes_of,
    marks_of,
)
from embeddings_dagster.search.encoding import Encoders
from embeddings_dagster.search.locations import Locations
from embeddings_dagster.search.narrowing import Narrowing, filter_of
from embeddings_dagster.search.opened import Opened, OpenedIndexes
from embeddings_dagster.search.paging import Answered, Cursor, parse_cursor
from embeddings_dagster.search.presenting import present
from embeddings_dagster.search.queries import MAX_HITS, IdQuery, check_hits
from embeddings_dagster.search.question import UNLIKE, Question, Term, make_question, several
from embeddings_dagster.search.ranking import Group, ranked
from embeddings_dagster.search.records import OpenedRecords, Records
from embeddings_dagster.search.results import Answering, Results
from embeddings_dagster.search.retrieving import Asked, fetching
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.duplicates import load_clusters
from embeddings_dagster.stages.opened import default_model, model_settings
from embeddings_dagster.store import Store

SPARE = 4  # rows fetched for each hit, where several rows may be one hit
FACET_VALUES = 20


class SearchService:
    """Searches the indexes of a store. Safe to share among threads; models are loaded when first needed.

    `load_clusters` gives the near-duplicates that are folded with copies.
    """

    def __init__(self, settings: Settings, store: Store, *, load_clusters: LoadClusters = load_clusters) -> None:
        self._settings = settings
        self._store = store
        self._indexes = OpenedIndexes(store)
        self._records = OpenedRecords(store)
        self._narrowing = Narrowing()
        self._encoders = Encoders(settings, store)
        self._locations = Locations(store, settings)
        self._clusters = OpenedClusters(store, load_clusters)

    def search(
        self,
        text: str | None = None,
        *,
        image: str | Path | bytes | None = None,
        image_id: str | None = None,
        vector: npt.ArrayLike | None = None,
        unlike: str | Sequence[str] = (),
        terms: Sequence[Term] = (),
        model: str | None = None,
        weights: Mapping[str, float] | None = None,
        where: str | Sequence[str | Condition] = (),
        words: str | None = None,
        sources: Collection[str] = (),
        batches: Collection[str] = (),
        regions: Regions | None = None,
        group: bool | None = None,
        fold: bool = False,
        facets: str | Sequence[str] = (),
        k: int = 10,
        after: str | None = None,
    ) -> Results:
        """The `k` images closest to what is given: a text, a picture (path or bytes), an image of the index, a vector,
        or several of these, with `terms` for those that have weights of their own. `unlike`: texts that are not wanted.

        `model` is a name of the settings; default: the first one that knows words, else the first. `weights` asks
        several models. See `Question` for the rest. `facets`: fields whose values are counted among the records that
        fulfil the conditions. `after`: that of the page before. An image that is searched for by its id is not among
        its own hits; the end of an id, as of a page's path, is enough where no other image's id ends so.

        Raises: see `ask`.
        """
        question = make_question(
            text, image, image_id, vector, unlike, terms, model, weights,
            where=where, words=words, sources=sources, batches=batches, regions=regions, group=group, fold=fold,
        )  # fmt: skip
        return self.ask(question, k=k, after=after, facets=facets)

    def recommend(
        self,
        image_ids: str | Sequence[str],
        *,
        unlike: str | Sequence[str] = (),
        model: str | None = None,
        weights: Mapping[str, float] | None = None,
        where: str | Sequence[str | Condition] = (),
        words: str | None = None,
        sources: Collection[str] = (),
        batches: Collection[str] = (),
        regions: Regions | None = None,
        group: bool | None = None,
        fold: bool = True,
        facets: str | Sequence[str] = (),
        k: int = 10,
        after: str | None = None,
    ) -> Results:
        """The `k` images closest to the mean of some images of the index, and not like those of `unlike`. None of them,
        nor an exact copy of one, is among the hits; the rest is as in `search`.

        Raises: see `ask`.
        """
        terms = [
            *(Term(IdQuery(each)) for each in several(image_ids)),
            *(Term(IdQuery(each), -UNLIKE) for each in several(unlike)),
        ]
        question = make_question(
            None, None, None, None, (), terms, model, weights,
            where=where, words=words, sources=sources, batches=batches, regions=regions, group=group, fold=fold,
            without_copies=True,
        )  # fmt: skip
        return self.ask(question, k=k, after=after, facets=facets)

    def ask(
        self, question: Question, *, k: int = 10, after: str | None = None, facets: str | Sequence[str] = ()
    ) -> Results:
        """A page of the answer to a question.

        Raises:
            BadQuery: it makes no sense, `k` is out of range, or `after` is of another question or has expired.
            UnknownItem: no such model or source, or no such image in the indexes, or several.
            IndexUnavailable: there is no index yet, or no catalogue that conditions could be asked of.
            ItemError: a picture cannot be read or decoded.
            ModelError: a model cannot be loaded, or is asked for words that it does not know.
        """
        started = time.monotonic()
        check_hits(k)
        facets = several(facets)
        cursor = parse_cursor(after) if after is not None else None
        shares = question.weights or {default_model(self._settings): 1.0}
        for name in shares:
            model_settings(self._settings, name)
        self._check_sources(question.sources)
        clusters = self._clusters.get() if question.fold else Known({}, "")
        digest = question.digest(self._encoders.read)
        if cursor is not None:
            _check_same(cursor, digest, clusters, list(shares))
        opened = [self._opened(name, cursor) for name in shares]
        records = self._records_for(question, cursor, facets)
        question = with_known_ids(question, opened)
        regions = question.regions or self._default_regions(shares)
        asked, matching = [], 0
        for each, share in zip(opened, shares.values(), strict=True):
            narrowed = self._narrowing.rows(each, question, regions, records)
            matching = max(matching, narrowed.matching)
            vector = combine(question, each, self._encoders, alone=len(opened) == 1)
            asked.append(Asked(each, share, vector, narrowed.selection, not self._is_text(each.record.name)))
        first = cursor.first if cursor else k + 1
        seen, groups = _page(_ranked(question, asked, regions, clusters.clusters, first), k, cursor)
        following = None
        if len(groups) > k and seen + k < MAX_HITS:
            answered = tuple(Answered(each.record.name, each.record.fp12, each.number) for each in opened)
            number = records.number if records is not None and question.asks_records else None
            following = str(Cursor(digest + clusters.digest, answered, number, first, seen + k, groups[k - 1].best.key))
        hits = present(groups[:k], seen, opened, records, self._locations)
        return Results(
            query=str(question),
            models=tuple(map(_answering, opened, shares.values())),
            matching=matching,
            catalogue=records.number if records is not None else None,
            facets=_facets(records, question, regions, facets),
            seconds=round(time.monotonic() - started, 4),
            hits=hits,
            after=following,
        )

    def refresh(self) -> None:
        """Take up newer generations now; a search does so by itself within a second."""
        self._indexes.refresh()
        self._records.refresh()
        self._clusters.refresh()

    def _is_text(self, model: str) -> bool:
        return self._settings.spaces[model].side == "text"

    def _default_regions(self, models: Collection[str]) -> Regions:
        """Whole pictures; all, where texts are among what is searched: most are those of panels."""
        return ids.ALL if any(map(self._is_text, models)) else ids.WHOLE

    def _check_sources(self, names: Collection[str]) -> None:
        unknown = [name for name in names if name not in self._settings.sources]
        known = {*self._settings.sources, *self._store.sources()} if unknown else set()
        for name in unknown:
            if name not in known:
                raise UnknownItem(f"no source {name!r} (there: {', '.join(sorted(known)) or 'none'}); correct the name")

    def _opened(self, model: str, cursor: Cursor | None) -> Opened:
        if cursor is None:
            return self._indexes.get(model)
        (of,) = (each for each in cursor.answered if each.model == model)
        try:
            return self._indexes.at(model, of.fp12, of.generation)
        except (
            UnknownItem,
            MissingFile,
            OSError,
            RuntimeError,
        ) as error:  # faiss raises the last where a file has gone
            raise BadQuery(f"the page has expired: {error}. Ask again from the first page") from error

    def _records_for(self, question: Question, cursor: Cursor | None, facets: Sequence[str]) -> Records | None:
        """The catalogue; None where there is none, and the question can be answered without."""
        needed = question.asks_records or bool(facets)
        try:
            return self._records.get(cursor.catalogue if cursor else None)
        except (UnknownItem, MissingFile) as error:
            if needed and cursor is not None:
                raise BadQuery(f"the page has expired: {error}. Ask again from the first page") from error
            if needed:
                raise
        except (IndexUnavailable, StoreError):
            if needed:
                raise
        return None


def _ranked(
    question: Question, asked: Sequence[Asked], regions: Regions, clusters: Clusters, first: int
) -> Iterator[Group]:
    images = question.asked_with
    unwanted: set[str] = set()
    if question.without_copies:
        unwanted = {hash_ for each in asked if each.copies for hash_ in hashes_of(each.opened.generation, images)}
    group = regions != ids.WHOLE if question.group is None else question.group
    marks = marks_of(group=group, fold=question.fold, clusters=clusters)
    return ranked(fetching(asked, images, unwanted), marks, first, SPARE if group or question.fold else 1)


def _check_same(cursor: Cursor, digest: str, clusters: Known, models: list[str]) -> None:
    same = cursor.question.startswith(digest) and sorted(each.model for each in cursor.answered) == sorted(models)
    if not same:
        raise BadQuery("`after` belongs to another question; ask the very same again, or start from its first page")
    if cursor.question != digest + clusters.digest:
        raise BadQuery("the page has expired: the near-duplicates are others now. Ask again from the first page")


def _page(groups: Iterator[Group], k: int, cursor: Cursor | None) -> tuple[int, list[Group]]:
    """How many hits come before the page, and its hits with one more, where there are any."""
    seen = 0
    if cursor is not None:
        before = enumerate(islice(groups, cursor.seen + cursor.first), start=1)
        seen = next((place for place, group in before if group.best.key == cursor.last), 0)
        if not seen:
            raise BadQuery("the page has expired: its last hit is not found any more. Ask again from the first page")
    return seen, list(islice(groups, min(k + 1, max(MAX_HITS - seen, 0))))


def _answering(opened: Opened, weight: float) -> Answering:
    manifest = opened.generation.manifest
    return Answering(
        opened.record.name, weight, manifest.fingerprint, manifest.version, manifest.run_id,
        manifest.created_at.isoformat(), manifest.rows,
    )  # fmt: skip


def _facets(
    records: Records | None, question: Question, regions: Regions, names: Sequence[str]
) -> dict[str, tuple[Facet, ...]]:
    if records is None:
        return {}
    wanted = filter_of(question, regions)
    return {name: tuple(records.snapshot.facets(name, wanted, limit=FACET_VALUES)) for name in names}
