"""Several terms, several models, groups and copies: the answers are those of scoring every row by hand."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings_dagster.errors import BadQuery, UnknownItem
from embeddings_dagster.ids import Key
from embeddings_dagster.search import IdQuery, SearchService, Term, VectorQuery
from embeddings_dagster_tests.index.helpers import vector
from embeddings_dagster_tests.search.world import SearchWorld, best, make_search_world, score, vector_of

NAMES = [f"art:{number:03}.png" for number in range(60)]
HASHES = {name: name for name in NAMES}
SHARES = {"one": 0.6, "two": 0.4}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SearchWorld:
    """Sixty pictures for the first model, all but the first five for the second; a page with panels; copies."""
    world = make_search_world(tmp_path_factory.mktemp("asking"))
    pages = {"art:page": ["page", "panel 1", "panel 2", "panel 3"]}
    copies = {"art:copy 1": ["same"], "art:copy 2": ["same"], "art:copy 3": ["same"]}
    world.index("one", {**{name: [name] for name in NAMES}, **pages, **copies})
    world.index("two", {**{name: [name] for name in NAMES[5:]}, **pages, **copies})
    return world


@pytest.fixture(scope="module")
def service(world: SearchWorld) -> SearchService:
    return world.service()


def ids(service: SearchService, **asked: Any) -> list[str]:
    return [hit.image_id for hit in service.search(**asked).hits]


def test_one_positive_term_of_any_weight_scores_its_cosine(service: SearchService) -> None:
    query = vector_of("one", NAMES[7])
    for weight in (1, 0.2, 7):
        first = service.search(terms=[Term(VectorQuery(query), weight)], k=1).hits[0]
        assert (first.image_id, first.score) == (NAMES[7], pytest.approx(1, abs=1e-6))


def test_terms_add_up_to_the_mean_of_the_positive_less_the_negative(service: SearchService) -> None:
    a, b, c = vector("a"), vector("b"), vector("c")
    terms = [Term(VectorQuery(a), 3), Term(VectorQuery(b), 1), Term(VectorQuery(c), -2)]
    expected = {
        Key(name, 0): (3 * score("one", name, a) + score("one", name, b) - 2 * score("one", name, c)) / 4
        for name in NAMES
    }
    found = service.search(terms=terms, k=64, model="one").hits
    hits = [hit for hit in found if hit.image_id in HASHES]
    assert [Key(hit.image_id, 0) for hit in hits] == best(expected, 60)
    assert {Key(hit.image_id, 0): hit.score for hit in hits} == pytest.approx(expected, abs=1e-5)


def test_what_is_not_wanted_moves_down(service: SearchService) -> None:
    ahead = ids(service, terms=[Term(IdQuery(NAMES[1]))], k=62)
    worst = ahead[0]
    less = ids(service, terms=[Term(IdQuery(NAMES[1])), Term(VectorQuery(vector_of("one", worst)), -1)], k=62)
    assert less.index(worst) > 20


def test_images_that_are_asked_with_are_no_answers(service: SearchService) -> None:
    found = ids(service, terms=[Term(IdQuery(NAMES[1])), Term(IdQuery(NAMES[2])), Term(IdQuery(NAMES[3]), -1)], k=99)
    assert len(found) == 61
    assert not {NAMES[1], NAMES[2], NAMES[3]} & set(found)


def test_terms_that_cancel_out_are_refused(service: SearchService) -> None:
    same = VectorQuery(vector("a"))
    with pytest.raises(BadQuery, match="nothing is left to search for"):
        service.search(terms=[Term(same), Term(same, -1)])


def test_a_region_is_asked_with(service: SearchService) -> None:
    found = service.search(terms=[Term(IdQuery("art:page", 2))], k=60).hits
    assert found[0].score == pytest.approx(
        max(score("one", name, vector_of("one", "panel 2")) for name in NAMES), abs=1e-5
    )
    with pytest.raises(
        UnknownItem, match=r"'art:page' has no region 9 in the index of model 'one'; .*it has: 0, 1, 2, 3"
    ):
        service.search(terms=[Term(IdQuery("art:page", 9))])


def test_several_models_score_every_row_exactly(service: SearchService) -> None:
    a, b = vector("a"), vector("b")
    found = service.search(
        terms=[Term(VectorQuery(a, "one")), Term(VectorQuery(b, "two"))], weights={"one": 6, "two": 4}, k=20
    )
    by_two = {name: score("two", name, b) for name in NAMES[5:]}
    expected = {Key(name, 0): 0.6 * score("one", name, a) + 0.4 * by_two.get(name, 0) for name in NAMES}
    hits = [hit for hit in found.hits if hit.image_id in HASHES]
    assert [hit.image_id for hit in hits] == [key.image_id for key in best(expected, len(hits))]
    for hit in hits:
        assert hit.score == pytest.approx(expected[Key(hit.image_id, 0)], abs=1e-5)
        of_one, of_two = hit.scores
        assert (of_one.model, of_two.model) == ("one", "two")
        assert of_one.score == pytest.approx(score("one", hit.image_id, a), abs=1e-5)
        assert of_two.score == (pytest.approx(by_two[hit.image_id], abs=1e-5) if hit.image_id in by_two else None)
        assert (of_two.generation, of_two.run_id, of_two.fingerprint[:12]) == (1, "run", "ba9876543210")
    assert [(each.model, each.weight) for each in found.models] == [("one", 0.6), ("two", 0.4)]


def test_a_row_that_one_model_lacks_is_found_and_counts_as_nothing_there(service: SearchService) -> None:
    query = vector_of("one", NAMES[0])
    found = service.search(
        terms=[Term(VectorQuery(query, "one")), Term(VectorQuery(vector("x"), "two"))], weights=SHARES, k=63
    )
    (hit,) = (hit for hit in found.hits if hit.image_id == NAMES[0])
    assert [each.score for each in hit.scores] == [pytest.approx(1, abs=1e-5), None]
    assert hit.score == pytest.approx(0.6, abs=1e-5)


def test_an_image_that_one_model_lacks_is_asked_of_the_other(service: SearchService) -> None:
    with pytest.raises(BadQuery, match=r"model 'two' understands nothing of what is looked for; add a picture"):
        service.search(image_id=NAMES[0], weights=SHARES)
    terms = [Term(IdQuery(NAMES[0])), Term(VectorQuery(vector("a"), "two"))]
    assert len(service.search(terms=terms, weights=SHARES).hits) == 10


def test_whose_a_vector_is_has_to_be_said(service: SearchService) -> None:
    with pytest.raises(BadQuery, match=r"say whose the vector is"):
        service.search(vector=vector("a"), weights=SHARES)
    with pytest.raises(BadQuery, match="model 'one' understands nothing"):
        service.search(terms=[Term(VectorQuery(vector("a"), "two"))], model="one")


def test_an_image_that_no_model_knows_is_unknown_to_all(service: SearchService) -> None:
    with pytest.raises(UnknownItem, match=r"no image 'art:nowhere' in the indexes of models 'one', 'two'"):
        service.search(image_id="art:nowhere", weights=SHARES)


def test_the_panels_of_a_page_are_one_hit_that_shows_the_best(service: SearchService) -> None:
    query = vector_of("one", "panel 2")
    found = service.search(vector=query, regions="all", k=64)
    first = found.hits[0]
    assert (first.image_id, first.region, first.score) == ("art:page", 2, pytest.approx(1, abs=1e-5))
    assert sorted(other.region for other in first.others) == [0, 1, 3]
    assert [hit.image_id for hit in found.hits].count("art:page") == 1
    assert {other.region: other.score for other in first.others} == pytest.approx(
        {
            region: score("one", hash_, query)
            for region, hash_ in enumerate(["page", "panel 1", "", "panel 3"])
            if hash_
        },
        abs=1e-5,
    )
    apart = service.search(vector=query, regions="all", group=False, k=70).hits
    assert [hit.image_id for hit in apart].count("art:page") == 4
    parts = service.search(vector=query, regions="parts", k=70).hits
    assert [(hit.image_id, hit.region, len(hit.others)) for hit in parts] == [("art:page", 2, 2)]


def test_copies_are_one_hit_only_when_they_are_to_be_folded(service: SearchService) -> None:
    query = vector_of("one", "same")
    assert ids(service, vector=query, k=3) == ["art:copy 1", "art:copy 2", "art:copy 3"]
    first, second, *_ = service.search(vector=query, fold=True).hits
    assert (first.image_id, first.folded) == ("art:copy 1", ("art:copy 2", "art:copy 3"))
    assert (second.image_id in HASHES, second.rank, second.folded) == (True, 2, ())
    assert ids(service, image_id="copy 1", k=2) == ["art:copy 2", "art:copy 3"], "a search by id shows them"


def test_near_duplicates_are_folded_with_their_cluster(world: SearchWorld) -> None:
    clusters = {NAMES[8]: "c", NAMES[9]: "c", NAMES[10]: "c"}
    service = world.service(load_clusters=lambda store: clusters)
    everything = service.search(vector=vector("q"), fold=True, k=100).hits
    (hit,) = (each for each in everything if {each.image_id, *each.folded} & set(clusters))
    assert {hit.image_id, *hit.folded} == set(clusters)
    apart = service.search(vector=vector("q"), k=100).hits
    first = next(each for each in apart if each.image_id in clusters)
    assert first.image_id == hit.image_id, "the best stands for all"
    assert len(apart) == len(everything) + 4


def test_recommendations_are_near_the_mean_of_the_seeds_without_them_and_their_copies(service: SearchService) -> None:
    found = service.recommend([NAMES[1], "art:copy 1"], k=70).hits
    mean = (vector_of("one", NAMES[1]) + vector_of("one", "same")) / 2
    expected = {Key(name, 0): score("one", name, mean) for name in NAMES if name != NAMES[1]}
    shown = [hit for hit in found if hit.image_id in HASHES]
    assert [Key(hit.image_id, 0) for hit in shown] == best(expected, 59)
    assert {Key(hit.image_id, 0): hit.score for hit in shown} == pytest.approx(expected, abs=1e-5)
    assert {hit.image_id for hit in found} == {*NAMES, "art:page"} - {NAMES[1]}, "no copy of a seed"


def test_recommendations_are_not_like_what_is_not_wanted(service: SearchService) -> None:
    found = [hit.image_id for hit in service.recommend([NAMES[1]], unlike=[NAMES[2]], weights={"one": 1}, k=70).hits]
    assert not {NAMES[1], NAMES[2]} & set(found)
    with pytest.raises(BadQuery, match="0 things"):
        service.recommend([])


def test_pages_of_every_size_make_up_the_whole_answer(service: SearchService) -> None:
    options: list[dict[str, Any]] = [
        {"vector": vector("q"), "model": "one"},
        {"vector": vector("q"), "regions": "all"},
        {"vector": vector("q"), "fold": True},
        {"terms": [Term(VectorQuery(vector("a"), "one")), Term(VectorQuery(vector("b"), "two"))], "weights": SHARES,
         "regions": "all", "fold": True},
    ]  # fmt: skip
    for asked in options:
        whole = service.search(**asked, k=100)
        assert whole.after is None
        for k in (1, 7, 30):
            hits, after = [], None
            while True:
                page = service.search(**asked, k=k, after=after)
                hits += page.hits
                after = page.after
                if after is None:
                    break
            assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
            assert [(hit.image_id, hit.region) for hit in hits] == [(hit.image_id, hit.region) for hit in whole.hits]


def test_a_page_of_another_size_goes_on_where_the_last_ended(service: SearchService) -> None:
    whole = ids(service, vector=vector("q"), k=30)
    first = service.search(vector=vector("q"), k=4)
    second = service.search(vector=vector("q"), k=26, after=first.after)
    assert [hit.image_id for hit in (*first.hits, *second.hits)] == whole


@pytest.mark.parametrize(
    "other", [{"vector": vector("r")}, {"k": 3, "fold": True}, {"model": "two"}, {"sources": "art"}]
)
def test_a_cursor_of_another_question_is_refused(service: SearchService, other: dict[str, Any]) -> None:
    asked = {"vector": vector("q"), "k": 3}
    after = service.search(**asked).after  # type: ignore[arg-type]
    with pytest.raises(BadQuery, match="`after` belongs to another question"):
        service.search(**{**asked, **other}, after=after)


def test_pages_stay_in_the_generations_they_began_in(tmp_path: Path) -> None:
    world = make_search_world(tmp_path, ["one"])
    world.index("one", {name: [name] for name in NAMES[:20]})
    service = world.service()
    whole = ids(service, vector=vector("q"), k=20)
    first = service.search(vector=vector("q"), k=8)
    world.index("one", {name: [f"{name} changed"] for name in NAMES[10:40]})
    service.refresh()
    assert service.search(vector=vector("q")).generation == 2
    for each in (service, world.service()):
        second = each.search(vector=vector("q"), k=12, after=first.after)
        assert second.generation == 1
        assert [hit.image_id for hit in (*first.hits, *second.hits)] == whole
    generations = world.generations("one")
    world.store.files.delete(generations.versions.path(1))
    with pytest.raises(BadQuery, match=r"the page has expired: .*has no generation 1"):
        world.service().search(vector=vector("q"), k=12, after=first.after)


def test_near_duplicates_that_changed_end_the_pages(world: SearchWorld) -> None:
    clusters: dict[str, str] = {}
    service = world.service(load_clusters=lambda store: dict(clusters))
    after = service.search(vector=vector("q"), fold=True, k=3).after
    clusters[NAMES[0]] = clusters[NAMES[1]] = "c"
    service.refresh()
    with pytest.raises(BadQuery, match="the page has expired: the near-duplicates are others now"):
        service.search(vector=vector("q"), fold=True, k=3, after=after)


def test_pages_end_at_the_ten_thousandth_hit(tmp_path: Path) -> None:
    world = make_search_world(tmp_path, ["one"])
    hashes = [str(number) for number in range(101)]
    world.index("one", {f"art:{number}": hashes for number in range(100)})
    found = world.service().search(vector=vector("q"), regions="all", group=False, k=9_990)
    rest = world.service().search(vector=vector("q"), regions="all", group=False, k=9_990, after=found.after)
    assert (len(found.hits), len(rest.hits), rest.hits[-1].rank, rest.after) == (9_990, 10, 10_000, None)


def test_an_index_of_one_row_answers(tmp_path: Path) -> None:
    world = make_search_world(tmp_path, ["one"])
    world.index("one", {"art:ünï ♥.png": ["h"]})
    found = world.service().search(vector=vector("q"), k=10_000, regions="all", fold=True)
    assert [hit.image_id for hit in found.hits] == ["art:ünï ♥.png"]
    assert found.after is None
    assert world.service().search(image_id="art:ünï ♥.png").hits == ()
    world.index("one", {})
    empty = world.service().search(vector=vector("q"), fold=True)
    assert (empty.hits, empty.rows, empty.matching, empty.after) == ((), 0, 0, None)


def test_scores_are_those_of_vectors_of_any_length(service: SearchService) -> None:
    plain = service.search(vector=vector("q"), k=5).hits
    double = service.search(vector=np.asarray(vector("q")) * 2, k=5).hits
    assert [hit.score for hit in double] == pytest.approx([2 * hit.score for hit in plain], abs=1e-5)


def test_an_image_of_which_only_parts_are_there_is_known_by_its_id(tmp_path: Path) -> None:
    """As in an index of texts, where a page says something in its panels alone."""
    world = make_search_world(tmp_path, ["one"])
    world.index("one", {"art:said": ["", "panel 1", "panel 2"], "art:other": ["other"]})
    service = world.service()
    (hit,) = service.search(terms=[Term(IdQuery("art:said", 2))], regions="all").hits
    assert hit.score == pytest.approx(score("one", "other", vector_of("one", "panel 2")), abs=1e-5)
    with pytest.raises(UnknownItem, match=r"'art:said' has no region 0 in the index of model 'one'; .*it has: 1, 2"):
        service.search(image_id="art:said")


def test_one_id_may_be_given_as_one_text(service: SearchService) -> None:
    found = service.recommend(NAMES[1], unlike=NAMES[2], k=3).hits
    assert found == service.recommend([NAMES[1]], unlike=[NAMES[2]], k=3).hits


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_vector_as_long_as_numbers_go_is_searched_for(service: SearchService) -> None:
    plain = ids(service, vector=vector("q"), k=5)
    assert ids(service, vector=np.asarray(vector("q")) * np.float32(1e30), k=5) == plain


def test_an_index_that_was_deleted_and_made_anew_is_searched(tmp_path: Path) -> None:
    world = make_search_world(tmp_path, ["one"])
    service = world.service()
    for batch, count in (("1", 9), ("2", 3)):
        world.index("one", {name: [name] for name in NAMES[:count]}, batch)
        service.refresh()
        assert len(service.search(vector=vector("q"), sources="art", k=30).hits) == count
        world.index("one", {}, batch)
        service.refresh()
        assert service.search(vector=vector("q")).hits == ()
        shutil.rmtree(tmp_path / "data" / "indexes")
