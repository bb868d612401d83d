"""What makes no sense is refused before any index or model is opened; what is the same question has the same digest."""

import math
from typing import Any

import numpy as np
import pytest

from embeddings_dagster.catalog import Condition
from embeddings_dagster.errors import BadQuery
from embeddings_dagster.search import IdQuery, ImageQuery, Question, Term, TextQuery, VectorQuery
from embeddings_dagster.search.question import MOST_TERMS, UNLIKE, make_question

CAT, LION = Term(TextQuery("cat")), Term(TextQuery("lion"), -0.5)


def ask(*terms: Term, **rest: Any) -> Question:
    return Question(terms, rest.pop("weights", {}), **rest)


def keywords(**given: Any) -> Question:
    plain: dict[str, Any] = dict.fromkeys(("text", "image", "image_id", "vector", "model", "weights"))
    return make_question(**{**plain, "unlike": (), "terms": (), **given})


def digest(question: Question) -> str:
    return question.digest(lambda query: query.image if isinstance(query.image, bytes) else b"of the file")


def test_each_keyword_is_a_term() -> None:
    made = keywords(text=" cat ", image_id="art:a", unlike="lion", terms=[Term(TextQuery("red"), 2)], model="clip")
    assert made.terms == (
        Term(TextQuery("cat"), 1.0),
        Term(IdQuery("art:a"), 1.0),
        Term(TextQuery("red"), 2.0),
        Term(TextQuery("lion"), -UNLIKE),
    )
    assert made.weights == {"clip": 1.0}
    assert str(made) == "text 'cat', image art:a, text 'red' ^2, not text 'lion'"
    assert keywords(text="cat", unlike=["lion", "tiger"]).terms[1:] == (
        Term(TextQuery("lion"), -UNLIKE),
        Term(TextQuery("tiger"), -UNLIKE),
    )


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ((), "0 things to search for were given; give one"),
        ((Term(TextQuery(" ")),), "the text is empty"),
        ((Term(TextQuery("cat"), 0), Term(TextQuery("dog"), 0.0)), "everything to search for has weight 0"),
        ((LION,), "only what is not wanted was given"),
        ((Term(TextQuery("cat"), 0), LION), "only what is not wanted was given"),
        ((Term(TextQuery("cat"), math.nan),), "nan is no weight for text 'cat'"),
        ((Term(TextQuery("cat"), math.inf),), "inf is no weight"),
        ((Term(TextQuery("cat"), 1e300),), "a number of at most 1,000,000"),
        ((Term(TextQuery("cat"), "2"),), "'2' is no weight"),  # type: ignore[arg-type]
        ((Term(TextQuery("cat"), True),), "True is no weight"),
        ((Term(TextQuery("cat"), 1e-300), LION), "1e-300 is too small a weight for text 'cat'; give 0, or at least"),
        ((CAT,) * (MOST_TERMS + 1), "101 things to search for are too many"),
    ],
)
def test_terms_that_make_no_sense_are_refused(terms: tuple[Term, ...], message: str) -> None:
    with pytest.raises(BadQuery, match=message):
        ask(*terms)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"clip": 0, "dino": 0.0}, "the weights of all models are 0"),
        ({"clip": math.nan}, "nan is no weight for model 'clip'"),
        ({"clip": 1, "dino": -0.4}, "the weight of model 'dino' is below 0"),
    ],
)
def test_weights_of_models_that_make_no_sense_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(BadQuery, match=message):
        ask(CAT, weights=weights)


def test_weights_of_models_are_shares_of_the_whole() -> None:
    assert ask(CAT, weights={"clip": 3, "dino": 1}).weights == {"clip": 0.75, "dino": 0.25}
    assert ask(CAT, weights={"clip": 0.6, "dino": 0.4}).weights == {"clip": 0.6, "dino": 0.4}
    assert ask(CAT, weights={"clip": 2, "dino": 0}).weights == {"clip": 1.0}


def test_a_weight_may_be_a_number_of_numpy() -> None:
    assert ask(Term(TextQuery("cat"), np.float32(0.5))).terms == (Term(TextQuery("cat"), 0.5),)  # type: ignore[arg-type]
    assert ask(CAT, weights={"clip": np.int64(3), "dino": 1}).weights == {"clip": 0.75, "dino": 0.25}


def test_a_term_of_weight_zero_is_left_out() -> None:
    assert ask(CAT, Term(TextQuery("dog"), 0), LION).terms == (CAT, LION)


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ({"where": ("no condition",)}, "is no condition"),
        ({"words": "  "}, "the words to search records for are empty"),
        ({"batches": ("art/1",)}, "'art/1' is no batch"),
        ({"regions": "panels"}, "regions 'panels': it is all, whole or parts"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(rest: dict[str, Any], message: str) -> None:
    with pytest.raises(BadQuery, match=message):
        ask(CAT, **rest)


def test_a_model_and_weights_are_not_given_both() -> None:
    with pytest.raises(BadQuery, match="name the one model, or weigh several"):
        keywords(text="cat", model="clip", weights={"clip": 1})


def test_one_text_as_a_condition_source_or_batch_is_one() -> None:
    made = keywords(text="cat", where="price<=20", sources="art", batches="art__1")
    assert (len(made.where), made.sources, made.batches) == (1, ("art",), ("art__1",))
    assert made.asks_records
    assert not keywords(text="cat", sources="art").asks_records


def test_the_digest_tells_questions_apart() -> None:
    questions = [
        ask(CAT), ask(CAT, LION), ask(Term(TextQuery("cat"), 2)), ask(Term(IdQuery("cat"))),
        ask(Term(IdQuery("cat", 1))), ask(Term(ImageQuery(b"cat"))), ask(Term(VectorQuery([1, 2]))),  # type: ignore[arg-type]
        ask(Term(VectorQuery([1, 3]))), ask(Term(VectorQuery([1, 2], "clip"))), ask(CAT, weights={"clip": 1}),  # type: ignore[arg-type]
        ask(CAT, where=("price<=20",)), ask(CAT, words="price"), ask(CAT, sources=("art",)),
        ask(CAT, batches=("art__1",)), ask(CAT, regions="all"), ask(CAT, group=True), ask(CAT, group=False),
        ask(CAT, fold=True), ask(CAT, without_copies=True), ask(CAT, where=("size in S, M",)),
        ask(CAT, where=('size in "S, M"',)), ask(CAT, where=(Condition("size", "..", (None, "")),)),
        ask(CAT, where=(Condition("size", "..", ("", None)),)),
    ]  # fmt: skip
    assert len({digest(each) for each in questions}) == len(questions)
    assert digest(ask(Term(VectorQuery([1, 2])))) == digest(ask(Term(VectorQuery([1, 2]))))  # type: ignore[arg-type]
    assert digest(ask(CAT, sources=("a", "b"))) == digest(ask(CAT, sources=("b", "a")))


def test_a_condition_may_list_its_values() -> None:
    (condition,) = ask(CAT, where=(Condition("size", "in", ["S", "M"]),)).where  # type: ignore[arg-type]
    assert hash(condition) == hash(Condition("size", "in", ("S", "M")))
