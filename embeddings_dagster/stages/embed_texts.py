"""Texts as the input of a model: what records say of an image, and what is said in each panel of it."""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from embeddings_dagster.encoders import Vectors
from embeddings_dagster.errors import NotFinite
from embeddings_dagster.ids import Key
from embeddings_dagster.stages.carry_out import Made
from embeddings_dagster.stages.vector_rows import BatchInputs, vector_row

COLUMNS = ("image_id", "region", "text")
TEXTS_AT_ONCE = 256  # between two looks at the stop event


class Words(NamedTuple):
    """The text of one region."""

    key: Key
    text: str


class Texts(BatchInputs):
    """The regions of one batch that have text, and how their texts are encoded."""

    def encoded(self, todo: Collection[Key]) -> Iterator[Made]:
        """See `BatchInputs`."""
        for images in _gathered(self._words(todo), TEXTS_AT_ONCE):
            self.context.check_stop()
            texts = [words.text for image in images for words in image]
            vectors = iter(self.engine.encode_texts(self.model, texts))
            for image in images:
                yield self._made(image, [next(vectors) for _ in image])

    def _words(self, keys: Collection[Key]) -> Iterator[Words]:
        for rows in self.upstream.scan(self.rgb, COLUMNS, keys=keys):
            for image_id, region, text in zip(*(rows.column(name).to_pylist() for name in COLUMNS), strict=True):
                yield Words(Key(image_id, region), text)

    def _made(self, image: Sequence[Words], vectors: Sequence[Vectors]) -> Made:
        rows, errors = [], {}
        for (key, _), vector in zip(image, vectors, strict=True):
            if np.isfinite(vector).all() and vector.any():
                rows.append(vector_row(key, self.wanted[key], vector, "fp32", self.context.run_id))
            else:
                errors[key.region] = NotFinite("the model gave a vector that is zero or not finite for this text")
        return Made(image[0].key.image_id, rows, errors=errors)


def _gathered(words: Iterator[Words], most: int) -> Iterator[list[list[Words]]]:
    """Images with their texts, gathered until there are `most` texts; an image's texts stay together."""
    held: list[list[Words]] = []
    for _, image in groupby(words, key=lambda each: each.key.image_id):
        held.append(list(image))
        if sum(map(len, held)) >= most:
            yield held
            held = []
    if held:
        yield held
