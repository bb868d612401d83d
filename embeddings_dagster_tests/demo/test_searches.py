"""The sample's named searches: what is relevant is there, and answers are judged by it. `test_demo` asks them."""

import pytest

from embeddings_dagster.demo import NamedSearch, find_sample, judge, read_searches, read_words, relevant
from embeddings_dagster.demo.searches import Words

SAMPLE = find_sample()
WORDS: Words = {
    "emoji:a/cat.png": frozenset({"cat", "pet"}),
    "emoji:a/dog.png": frozenset({"dog", "pet"}),
    "emoji:b/lion.png": frozenset({"lion"}),
    "shop:1": frozenset({"cat", "food"}),
}


def search(relevant: dict[str, object], **ask: object) -> NamedSearch:
    return NamedSearch("a search", ask, relevant, 0.5)


@pytest.mark.parametrize(
    ("said", "ask", "expected"),
    [
        ({"words": ["cat"]}, {}, {"emoji:a/cat.png", "shop:1"}),
        ({"words": ["cat"], "source": "emoji"}, {}, {"emoji:a/cat.png"}),
        ({"source": "emoji", "folder": "a"}, {}, {"emoji:a/cat.png", "emoji:a/dog.png"}),
        ({"words": ["pet", "lion"]}, {"recommend": ["emoji:a/cat.png"]}, {"emoji:a/dog.png", "emoji:b/lion.png"}),
        ({"words": ["cat"]}, {"image_id": "shop:1"}, {"emoji:a/cat.png"}),
        ({"ids": ["comics:p1"]}, {}, {"comics:p1"}),
    ],
)
def test_what_is_relevant(said: dict[str, object], ask: dict[str, object], expected: set[str]) -> None:
    assert relevant(search(said, **ask), WORDS) == expected


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        (["emoji:a/cat.png", "shop:1", "x"], 1.0),
        (["emoji:a/cat.png", "x", "shop:1"], 0.5),
        (["x", "y", "emoji:a/cat.png"], 0.0),
        (["shop:1"], 0.5),
        ([], 0.0),
    ],
)
def test_precision_is_the_share_of_the_relevant_among_as_many_as_there_are(found: list[str], precision: float) -> None:
    judged = judge(search({"words": ["cat"]}), found, WORDS)
    assert (judged.precision, judged.of, judged.passed) == (precision, 2, precision >= 0.5)


def test_the_sample_has_twenty_named_searches_with_something_to_find() -> None:
    words, searches = read_words(SAMPLE), read_searches(SAMPLE)
    assert len({each.name for each in searches}) == len(searches) == 20
    pages = {f"comics:the-lost-balloon/p{number:03}.json" for number in range(1, 5)}
    for each in searches:
        wanted = set(relevant(each, words))
        assert wanted, each.name
        assert {one.partition("#")[0] for one in wanted} <= {*words, *pages}, each.name
        assert 0 < each.floor <= 1
        if "image" in each.ask:
            assert (SAMPLE.folder / each.ask["image"]).is_file()
