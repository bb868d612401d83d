"""Puts the sample's named searches to a search service, and judges what comes."""

from embeddings_dagster.demo.sample import Sample
from embeddings_dagster.demo.searches import FIRST_TEN, Judged, NamedSearch, judge, read_searches, read_words
from embeddings_dagster.search import IdQuery, Results, SearchService, Term


def answer_searches(service: SearchService, sample: Sample) -> list[Judged]:
    """Every named search of the sample, judged by its first ten hits."""
    words = read_words(sample)
    judged = []
    for search in read_searches(sample):
        hits = put(service, search, sample).hits
        judged.append(judge(search, [hit.image_id for hit in hits], words))
    return judged


def put(service: SearchService, search: NamedSearch, sample: Sample) -> Results:
    """The answer to one of them."""
    ask = dict(search.ask)
    if "recommend" in ask:
        return service.recommend(ask.pop("recommend"), **ask, k=FIRST_TEN)
    if "image" in ask:
        ask["image"] = sample.folder / ask["image"]
    if "ids" in ask:
        ask["terms"] = [Term(IdQuery(image_id)) for image_id in ask.pop("ids")]
    return service.search(**ask, k=FIRST_TEN)
