"""A question as a whole: what is looked for and what is not, by which models, among which rows. It is checked when it
is made, before any model is loaded.

The score of a row `x` for one model is `Σ w·⟨q, x⟩ / Σ⁺ w` over the terms' vectors `q` and weights `w`, where `Σ⁺` adds
up the weights above zero alone: for one term the cosine, for several the mean of theirs, less what the negative ones
take away. Several models add up, each by its share.
"""

import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from numbers import Real
from pathlib import Path

import numpy.typing as npt

from embeddings_dagster.catalog import Condition, parse_condition
from embeddings_dagster.errors import BadQuery
from embeddings_dagster.ids import ALL, PARTS, WHOLE, Regions, is_batch_key
from embeddings_dagster.search.queries import IdQuery, ImageQuery, Query, TextQuery, VectorQuery, checked

# Of what is not wanted. On the sample, 'cat' less a fifth of 'lion' finds all cats first; at a quarter the sun with a
# face comes before the last of them, at a half faces and fish: much of what makes a lion makes a cat.
UNLIKE = 0.2
MOST_TERMS = 100
LARGEST = 1_000_000  # weight

ReadPicture = Callable[[ImageQuery], bytes]


@dataclass(frozen=True)
class Term:
    """One thing that is looked for, or that is not wanted (`weight` below zero)."""

    query: Query
    weight: float = 1.0

    def __str__(self) -> str:
        sign = "not " if self.weight < 0 else ""
        return f"{sign}{self.query}" + ("" if abs(self.weight) in (1.0, UNLIKE) else f" ^{abs(self.weight):g}")


@dataclass(frozen=True)
class Question:
    """What is asked. Terms and models of weight 0 are left out; the models' weights are scaled to add up to 1.

    `weights`: by model, empty for the default one. `where` and `words` are conditions on records, `sources`, `batches`
    and `regions` on rows (`regions` None: whole pictures; with texts among what is searched, all). `group`: an image is
    one hit, whatever of it is found (None: where parts are searched). `fold`: so are copies of an image, and what is
    nearly one. `without_copies`: exact copies of images that are asked with are no answers either.
    """

    terms: tuple[Term, ...]
    weights: Mapping[str, float]
    where: tuple[Condition, ...] = ()
    words: str | None = None
    sources: tuple[str, ...] = ()
    batches: tuple[str, ...] = ()
    regions: Regions | None = None
    group: bool | None = None
    fold: bool = False
    without_copies: bool = False

    def __post_init__(self) -> None:
        """Raises:
        BadQuery: it makes no sense.
        """
        set_ = object.__setattr__
        queries = [checked(term.query) for term in self.terms]
        weights = [_number(term.weight, str(query)) for term, query in zip(self.terms, queries, strict=True)]
        terms = tuple(map(Term, queries, weights))
        set_(self, "terms", tuple(term for term in terms if term.weight))
        _check_terms(self.terms, len(terms))
        set_(self, "weights", _shares(self.weights))
        set_(self, "where", tuple(map(_condition, self.where)))
        if self.words is not None and not self.words.strip():
            raise BadQuery("the words to search records for are empty; leave them out, or say some")
        wrong = [batch for batch in self.batches if not is_batch_key(batch)]
        if wrong:
            raise BadQuery(f"{wrong[0]!r} is no batch, which is called SOURCE__NAME; `embeddings status` lists them")
        if self.regions not in (None, ALL, WHOLE, PARTS):
            raise BadQuery(f"regions {self.regions!r}: it is {ALL}, {WHOLE} or {PARTS}")

    def __str__(self) -> str:
        return ", ".join(map(str, self.terms))

    @property
    def asks_records(self) -> bool:
        """Whether it has conditions that only the catalogue can answer."""
        return bool(self.where) or self.words is not None

    @property
    def asked_with(self) -> tuple[str, ...]:
        """The images that it is asked with, by their ids."""
        return tuple(term.query.image_id for term in self.terms if isinstance(term.query, IdQuery))

    def with_ids(self, known: Mapping[str, str]) -> "Question":
        """The same, asked with the ids that were meant."""
        terms = (
            Term(IdQuery(known[term.query.image_id], term.query.region), term.weight)
            if isinstance(term.query, IdQuery)
            else term
            for term in self.terms
        )
        return replace(self, terms=tuple(terms))

    def digest(self, read: ReadPicture) -> str:
        """A short text that differs when anything of it does; what `read` gives stands for a picture."""
        terms = [(type(term.query).__name__, _content(term.query, read), term.weight) for term in self.terms]
        rest = (sorted(self.weights.items()), [astuple(each) for each in self.where], self.words, sorted(self.sources),
                sorted(self.batches), self.regions, self.group, self.fold, self.without_copies)  # fmt: skip
        return hashlib.sha256(json.dumps([terms, rest]).encode()).hexdigest()[:16]


def make_question(
    text: str | None,
    image: str | Path | bytes | None,
    image_id: str | None,
    vector: npt.ArrayLike | None,
    unlike: str | Sequence[str],
    terms: Sequence[Term],
    model: str | None,
    weights: Mapping[str, float] | None,
    *,
    where: str | Sequence[str | Condition] = (),
    words: str | None = None,
    sources: Collection[str] = (),
    batches: Collection[str] = (),
    regions: Regions | None = None,
    group: bool | None = None,
    fold: bool = False,
    without_copies: bool = False,
) -> Question:
    """The question that was asked in keywords: each thing given is a term, with those in `terms`.

    Raises:
        BadQuery: it makes no sense.
    """
    if model is not None and weights:
        raise BadQuery("a model and weights of models were both given; name the one model, or weigh several")
    asked = [
        *([Term(TextQuery(text))] if text is not None else []),
        *([Term(ImageQuery(image if isinstance(image, bytes) else Path(image)))] if image is not None else []),
        *([Term(IdQuery(image_id))] if image_id is not None else []),
        *([Term(VectorQuery(vector))] if vector is not None else []),  # type: ignore[arg-type]
        *terms,
        *(Term(TextQuery(each), -UNLIKE) for each in ([unlike] if isinstance(unlike, str) else unlike)),
    ]
    return Question(
        tuple(asked), weights or ({model: 1.0} if model is not None else {}), several(where), words,
        several(sources), several(batches), regions, group, fold, without_copies,
    )  # fmt: skip


def several(given: "str | Collection[str | Condition]") -> tuple:  # type: ignore[type-arg]
    """What was given, where one text is one."""
    return (given,) if isinstance(given, str) else tuple(given)


def _condition(given: str | Condition) -> Condition:
    """A condition that can be remembered by its value."""
    return parse_condition(given) if isinstance(given, str) else replace(given, values=tuple(given.values))


def _content(query: Query, read: ReadPicture) -> list[object]:
    if isinstance(query, TextQuery):
        return [query.text]
    if isinstance(query, ImageQuery):
        return [hashlib.sha256(read(query)).hexdigest()]
    if isinstance(query, IdQuery):
        return [query.image_id, query.region]
    return [hashlib.sha256(query.vector.tobytes()).hexdigest(), query.model]


def _check_terms(terms: tuple[Term, ...], given: int) -> None:
    if not given:
        raise BadQuery("0 things to search for were given; give one: a text, a picture, an image id or a vector")
    if given > MOST_TERMS:
        raise BadQuery(f"{given} things to search for are too many; at most {MOST_TERMS}")
    if not terms:
        raise BadQuery("everything to search for has weight 0; give one thing a weight above 0")
    if all(term.weight < 0 for term in terms):
        raise BadQuery("only what is not wanted was given; say what to look for, too")


def _number(weight: float, what: str) -> float:
    if isinstance(weight, bool) or not isinstance(weight, Real) or not abs(weight) <= LARGEST:
        raise BadQuery(f"{weight!r} is no weight for {what}; give a number of at most {LARGEST:,}")
    if 0 < abs(weight) < 1 / LARGEST:
        raise BadQuery(f"{weight!r} is too small a weight for {what}; give 0, or at least a millionth")
    return float(weight)


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights of models, scaled to add up to 1."""
    numbers = {name: _number(weight, f"model {name!r}") for name, weight in weights.items()}
    negative = [name for name, weight in numbers.items() if weight < 0]
    if negative:
        raise BadQuery(f"the weight of model {negative[0]!r} is below 0; a model's share is 0 to 1")
    total = math.fsum(numbers.values())
    if numbers and not total:
        raise BadQuery("the weights of all models are 0; give one of them a share, as in clip=0.6,dino=0.4")
    return {name: weight / total for name, weight in numbers.items() if weight}
