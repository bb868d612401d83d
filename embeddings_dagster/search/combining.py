"""The terms of a question as one vector of each model: inner products add up, so one search of an index is enough."""

import numpy as np

from embeddings_dagster.errors import BadQuery, UnknownItem
from embeddings_dagster.search.encoding import Encoders, Vector
from embeddings_dagster.search.opened import Opened
from embeddings_dagster.search.queries import IdQuery, ImageQuery, Query, TextQuery, VectorQuery
from embeddings_dagster.search.question import Question
from embeddings_dagster.sources.tails import SHOWN, find_by_tail, named

CANCELLED = 1e-4  # of the longest term: all that is left of terms which say the same and are taken from each other


def with_known_ids(question: Question, opened: list[Opened]) -> Question:
    """The same question with whole ids, where the ends of ids were given.

    Raises:
        UnknownItem: no index has such an image or region, or several images' ids end so.
    """
    known = {image_id: _known_id(image_id, opened) for image_id in question.asked_with}
    question = question.with_ids(known)
    for term in question.terms:
        if isinstance(term.query, IdQuery):
            image_id, region = term.query.image_id, term.query.region
            there = sorted(set().union(*(_regions(image_id, each) for each in opened)))
            if region not in there:
                raise UnknownItem(
                    f"image {image_id!r} has no region {region} in {_indexes(opened)}; ask with one that it has: "
                    f"{named([str(each) for each in there[:SHOWN]], len(there))}"
                )
    return question


def combine(question: Question, opened: Opened, encoders: Encoders, *, alone: bool) -> Vector:
    """The vector to search a model's index with, float32 (D,), so that an inner product is the score that `question`
    says.

    A model that is not `alone` skips what it does not understand: words, where it knows only pictures; an image that
    its index lacks; a vector of another model.

    Raises:
        BadQuery: it understands nothing of what is looked for, the terms cancel each other out, or a vector does not
            fit.
        ItemError: a picture cannot be read or decoded.
        ModelError: the model cannot be loaded, or is alone and knows no words.
    """
    name, shape = opened.record.name, (opened.generation.manifest.dimension,)
    reads_text = alone or opened.record.model_settings().reads_text
    queries = [term.query for term in question.terms]
    texts = list(dict.fromkeys(each.text for each in queries if reads_text and isinstance(each, TextQuery)))
    encoded = dict(zip(texts, encoders.texts(opened.record, texts), strict=True))
    found: list[tuple[float, Vector]] = []
    for term in question.terms:
        vector = _vector(term.query, opened, encoded, encoders, alone=alone)
        if vector is not None and vector.shape != shape:
            raise BadQuery(f"a vector of shape {vector.shape} was given; this index has {shape}")
        if vector is not None:
            found.append((term.weight, vector))
    wanted = sum(weight for weight, _ in found if weight > 0)
    if not wanted:
        raise BadQuery(
            f"model {name!r} understands nothing of what is looked for; add a picture or an image of its index, or "
            "leave the model out of the weights"
        )
    return _sum([(weight / wanted, vector) for weight, vector in found])


def _sum(terms: list[tuple[float, Vector]]) -> Vector:
    weighed = [weight * vector.astype(np.float64) for weight, vector in terms]
    total = np.sum(weighed, axis=0)
    longest = max(float(np.linalg.norm(each)) for each in weighed)
    if len(terms) > 1 and float(np.linalg.norm(total)) <= CANCELLED * longest:
        raise BadQuery("what is looked for and what is not wanted are the same, so that nothing is left to search for")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused by the index
        combined: Vector = total.astype(np.float32)
    return combined


def _vector(
    query: Query, opened: Opened, encoded: dict[str, Vector], encoders: Encoders, *, alone: bool
) -> Vector | None:
    if isinstance(query, TextQuery):
        return encoded.get(query.text)
    if isinstance(query, ImageQuery):
        return encoders.picture(opened.record, query)
    if isinstance(query, IdQuery):
        return opened.generation.vector(query.image_id, query.region)
    assert isinstance(query, VectorQuery)
    if query.model is None and not alone:
        raise BadQuery("several models are asked: say whose the vector is, as in VectorQuery(vector, model='clip')")
    return query.vector if query.model in (None, opened.record.name) else None


def _known_id(image_id: str, opened: list[Opened]) -> str:
    """The id that is meant: the very one, else the only one that ends so."""
    if any(_regions(image_id, each) for each in opened):
        return image_id
    meant = find_by_tail(dict.fromkeys(known for each in opened for known in each.generation.image_ids()), image_id)
    if len(meant) > 1:
        raise UnknownItem(f"{image_id!r} is the end of {named(meant, len(meant))}; give more of the path")
    if meant:
        return meant[0]
    close = list(dict.fromkeys(known for each in opened for known in each.generation.close_ids(image_id)))[:3]
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "`embeddings status` shows what is there."
    why = "`embeddings explain ID` says why an image is missing."
    raise UnknownItem(f"no image {image_id!r} in {_indexes(opened)}; {hint} {why}")


def _regions(image_id: str, opened: Opened) -> set[int]:
    """The regions of an image that an index has; of texts it may have those of panels alone."""
    return {region for segment in opened.generation.segments for region in segment.labels(image_id)}


def _indexes(opened: list[Opened]) -> str:
    """`the index of model 'clip'`, or of several."""
    names = [repr(each.record.name) for each in opened]
    return f"the index of model {names[0]}" if len(names) == 1 else f"the indexes of models {', '.join(names)}"
