"""The vectors of an undisturbed encoder: one for each picture, box, background and model, made when first asked for."""

import hashlib
from collections.abc import Iterable

import numpy as np

from embeddings_dagster.encoders import Region, Unit, encode_units, load
from embeddings_dagster.images import Box, DecodeRules, decode
from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.opened import decode_rules
from embeddings_dagster_tests.torture.expected import Part

Vector = np.ndarray


class Golden:
    """Straight from bytes to vectors: no store, no batches of others, no reuse."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Vector] = {}

    def picture(self, settings: Settings, model: str, data: bytes, parts: Iterable[Part]) -> list[Vector]:
        """The vectors of some regions of a picture."""
        asked, rules = list(parts), decode_rules(settings)
        said, digest = settings.models[model], hashlib.sha256(data).hexdigest()
        names = [(said.model, rules.background, digest, part.box) for part in asked]
        missing = [place for place, name in enumerate(names) if name not in self._known]
        if missing:
            made = self._encode(said, rules, data, [asked[place] for place in missing])
            self._known |= {names[place]: vector for place, vector in zip(missing, made, strict=True)}
        return [self._known[name] for name in names]

    def text(self, settings: Settings, model: str, text: str) -> Vector:
        """The vector of a text."""
        said = settings.models[model]
        name = (said.model, "text", text)
        if name not in self._known:
            text_side = said.model_copy(update={"side": "text"})
            self._known[name] = load(text_side).encode_long_text([text])[0]
        return self._known[name]

    def _encode(self, model: ModelSettings, rules: DecodeRules, data: bytes, parts: list[Part]) -> list[Vector]:
        regions = [Region(place, Box(*part.box) if part.box else None, None, "") for place, part in enumerate(parts)]
        unit = Unit("golden", data, tuple(regions))

        def decoded(data: bytes, *, at_least: int = 0) -> object:
            return decode(data, rules)

        (done,) = encode_units(load(model), [unit], decoded, batch_size=8, threads=1)  # type: ignore[arg-type]
        assert done.vectors is not None, done.error
        return list(done.vectors)
