"""Any question, page by page to its end, against all rows scored and sorted by hand: terms, models, conditions, kinds
of regions, groups, copies and near-duplicates at once, on indexes and records that do not agree on what there is.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster.ids import Key
from embeddings_dagster.search import IdQuery, Results, SearchService, Term, VectorQuery
from embeddings_dagster_tests.index.helpers import vector
from embeddings_dagster_tests.search.world import make_search_world, vector_of
from embeddings_dagster_tests.stages.catalog_world import Item

ODD = ["art:ünï ♥.png", "art:a%23b%0A.png", "art:x^2", "art:item#1", "art:[red]", "art:Ünï ♥.png"]
PLAIN = [f"art:{number:02}" for number in range(14)]
PAGES = {
    "art:page 1": ["p1", "a", "blank", "b"],
    "art:page 2": ["p2", "blank", "c"],
    "art:page 3": ["p3", "blank", "blank"],
    "art:said": ["", "d", "a"],
}
COPIES = {"art:copy 1": ["same"], "art:copy 2": ["same"], "art:copy 3": ["same"]}
FIRST = {**{name: [name] for name in PLAIN + ODD}, **PAGES, **COPIES}
# The second model lacks some images and panels, has one that the first has not, and an older state of another.
SECOND = {
    **{name: [name] for name in PLAIN[4:] + ODD},
    "art:page 1": PAGES["art:page 1"],
    "art:page 2": ["p2"],
    "art:copy 1": ["same"],
    "art:copy 2": ["before"],
    "art:alone": ["alone"],
}
MORE = {"art:late 1": ["late 1"], "art:late 2": ["same"]}  # of another batch, in both
RECORDED = {name: number for number, name in enumerate([*PLAIN[:10], *ODD, "art:page 1", "art:copy 1", "art:gone"])}
CLUSTERS = {"art:00": "c", "art:01": "c", "art:page 1": "d", "art:page 3": "d", "art:late 1": "c", "art:gone": "c"}

Hashes = Mapping[Key, str]


class Shown(NamedTuple):
    """What a hit says that can be known beforehand."""

    key: Key
    score: float
    scores: tuple[float | None, ...]


def rows_of(*batches: Mapping[str, list[str]]) -> dict[Key, str]:
    return {
        Key(image, region): hash_
        for batch in batches
        for image, hashes in batch.items()
        for region, hash_ in enumerate(hashes)
        if hash_
    }


ROWS = {"one": rows_of(FIRST, MORE), "two": rows_of(SECOND, MORE)}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> SearchService:
    world = make_search_world(tmp_path_factory.mktemp("oracle"))
    records = {
        name: Item({"number": number, "even": str(number % 2 == 0)}, panels=["x"] * (3 if name == "art:page 1" else 0))
        for name, number in RECORDED.items()
    }
    world.record(records)
    world.index("one", FIRST)
    world.index("two", SECOND)
    for model in ("one", "two"):
        world.index(model, MORE, batch="2")
    return world.service(load_clusters=lambda store: CLUSTERS)


TERMS = st.lists(
    st.tuples(
        st.sampled_from([*PLAIN[4:8], "art:x^2", "art:page 1", "art:copy 1"]) | st.integers(0, 5),
        st.sampled_from([1.0, 0.5, 3.0, -0.2]),
    ),
    min_size=1,
    max_size=3,
).filter(lambda terms: terms[0][1] > 0)
QUESTIONS = st.fixed_dictionaries(
    {
        "terms": TERMS,
        "weights": st.sampled_from([{"one": 1.0}, {"two": 1.0}, {"one": 0.6, "two": 0.4}, {"two": 1.0, "one": 3.0}]),
        "regions": st.sampled_from(["whole", "all", "parts"]),
        "group": st.sampled_from([None, True, False]),
        "fold": st.booleans(),
        "at_least": st.sampled_from([None, None, 3, 17, 99]),
        "batches": st.sampled_from([(), (), ("art__1",), ("art__2",)]),
    }
)


@settings(max_examples=100, deadline=None)
@given(asked=QUESTIONS, k=st.sampled_from([1, 2, 5, 1_000]))
def test_the_pages_of_any_question_are_the_hits_found_by_hand(
    service: SearchService, asked: dict[str, Any], k: int
) -> None:
    expected, matching = by_hand(asked)
    pages = list(all_pages(service, asked, k))
    hits = [hit for page in pages for hit in page.hits]
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    found = [Shown(Key(hit.image_id, hit.region), hit.score, tuple(each.score for each in hit.scores)) for hit in hits]
    assert [each.key for each in found] == [each.key for each in expected]
    for hit, other in zip(found, expected, strict=True):
        assert hit.score == pytest.approx(other.score, abs=1e-5)
        assert hit.scores == pytest.approx(other.scores, abs=1e-5)
    assert {page.matching for page in pages} == {matching}


def all_pages(service: SearchService, asked: dict[str, Any], k: int) -> list[Results]:
    terms = []
    for what, weight in asked["terms"]:
        if isinstance(what, str):
            terms.append(Term(IdQuery(what), weight))
        else:
            terms += [Term(VectorQuery(vector(f"{model} {what}"), model), weight) for model in ("one", "two")]
    options = {name: asked[name] for name in ("weights", "regions", "group", "fold", "batches")}
    where = [] if asked["at_least"] is None else [f"number>={asked['at_least']}", "even=true"]
    pages, after = [], None
    while not pages or after:
        pages.append(service.search(terms=terms, where=where, **options, k=k, after=after))
        after = pages[-1].after
        assert len(pages) < 100
    return pages


def by_hand(asked: dict[str, Any]) -> tuple[list[Shown], int]:
    """The hits, and how many rows of the index with most of them fulfil the conditions."""
    weights = asked["weights"]
    queries = {model: query_of(model, asked["terms"]) for model in weights}
    with_ = {what for what, _ in asked["terms"] if isinstance(what, str)}
    allowed = {model: [key for key in ROWS[model] if fulfils(key, asked)] for model in weights}
    shown = []
    for key in {key for keys in allowed.values() for key in keys if key.image_id not in with_}:
        scores = tuple(
            float(vector_of(model, ROWS[model][key]).astype(np.float64) @ queries[model])
            if key in ROWS[model]
            else None
            for model in weights
        )
        total = sum(weights[model] * (score or 0) for model, score in zip(weights, scores, strict=True))
        shown.append(Shown(key, total / sum(weights.values()), scores))
    # Copies score the same to the bit, whatever way they were summed in here.
    shown.sort(key=lambda each: (-round(each.score, 7), each.key))
    group = asked["regions"] != "whole" if asked["group"] is None else asked["group"]
    return gathered(shown, list(weights), group=group, fold=asked["fold"]), max(map(len, allowed.values()))


def query_of(model: str, terms: list[tuple[str | int, float]]) -> Any:
    wanted = sum(weight for _, weight in terms if weight > 0)
    vectors = [vector_of(model, ROWS[model][Key(what, 0)]) if isinstance(what, str) else vector(f"{model} {what}")
               for what, _ in terms]  # fmt: skip
    return sum(w / wanted * v.astype(np.float64) for (_, w), v in zip(terms, vectors, strict=True))


def fulfils(key: Key, asked: dict[str, Any]) -> bool:
    of_batch = {"art__1": key.image_id not in MORE, "art__2": key.image_id in MORE}
    number = RECORDED.get(key.image_id)
    recorded = number is not None and (key.region == 0 or key.image_id == "art:page 1")
    return (
        {"whole": key.region == 0, "parts": key.region > 0, "all": True}[asked["regions"]]
        and (not asked["batches"] or any(of_batch[batch] for batch in asked["batches"]))
        and (asked["at_least"] is None or (recorded and number >= asked["at_least"] and number % 2 == 0))  # type: ignore[operator]
    )


def gathered(ordered: list[Shown], models: list[str], *, group: bool, fold: bool) -> list[Shown]:
    """The best of each hit: a row goes to the hit that has its image, else to the one whose best was made of the same,
    else to the one of its near-duplicates, else it begins one."""
    bests: list[Shown] = []
    images: dict[str, int] = {}
    hashes: dict[str, int] = {}
    clusters: dict[tuple[str, int], int] = {}
    for row in ordered:
        image_id, region = row.key
        hash_ = next(ROWS[model][row.key] for model in models if row.key in ROWS[model])
        cluster = (CLUSTERS.get(image_id, f"none of {row.key}"), 0 if group else region)
        at = images.get(image_id) if group else None
        if at is None and fold:
            at = hashes.get(hash_, clusters.get(cluster))
        if at is None:
            at = len(bests)
            bests.append(row)
            hashes[hash_] = clusters[cluster] = at
        images.setdefault(image_id, at)
    return bests
