"""An engine without a model: vectors follow from what is encoded. It fails on images that are named so, and loses or
repeats what it is told to, as a broken one would."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from embeddings_dagster.encoders import Decode, Encoded, Unit, Vectors, identify
from embeddings_dagster.errors import Unencodable
from embeddings_dagster.settings_models import ModelSettings

FAILS = ":u"  # in the id of an image: the model fails on it


@dataclass
class ToyEngine:
    """`lost` and `again`: ids of images that are not given back, or twice; `strange`: given back under another id."""

    lost: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    strange: set[str] = field(default_factory=set)
    encoded: int = 0

    def encode(
        self, model: ModelSettings, units: Iterable[Unit], decode: Decode, *, stop: threading.Event | None = None
    ) -> Iterator[Encoded]:
        """See `Engine.encode`."""
        dimension = identify(model).dimension
        for unit in units:
            if unit.image_id in self.lost:
                continue
            if FAILS in unit.image_id:
                found = Encoded(unit, error=Unencodable(f"{unit.image_id}: the model fails on it"))
            else:
                found = Encoded(unit, np.stack([vector(each.input_hash, dimension) for each in unit.regions]))
                self.encoded += len(unit.regions)
            if unit.image_id in self.strange:
                found = replace(found, unit=replace(unit, image_id=f"{unit.image_id}x"))
            yield found
            if unit.image_id in self.again:
                yield found

    def encode_texts(self, model: ModelSettings, texts: Sequence[str]) -> Vectors:
        """See `Engine.encode_texts`."""
        return np.stack([vector(text, identify(model).dimension) for text in texts])


def vector(said: str, dimension: int) -> Vectors:
    """A vector of norm 1 that follows from a text."""
    found = np.random.default_rng(list(said.encode())).standard_normal(dimension).astype(np.float32)
    return found / np.linalg.norm(found)
