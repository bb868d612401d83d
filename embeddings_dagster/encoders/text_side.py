"""The text side of a model, in float32 whatever its pictures are encoded in, since every query goes through it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embeddings_dagster.encoders.base import Vectors
from embeddings_dagster.encoders.runtime import runtime
from embeddings_dagster.encoders.tokens import Tokens
from embeddings_dagster.encoders.unit_length import unit_length
from embeddings_dagster.errors import EncodeFailed

TEXTS_AT_ONCE = 64


class TextSide:
    """Texts to vectors of norm 1. Safe to share among threads."""

    def __init__(self, network: Any, tokens: Tokens, *, device: str, dimension: int) -> None:
        self._network, self._tokens, self._device, self._dimension = network, tokens, device, dimension

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors (n, D) float32; a text past the model's limit of tokens is cut there.

        Raises:
            EncodeFailed: the model failed.
        """
        torch = runtime().torch
        out = np.empty((len(texts), self._dimension), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                inputs = self._tokens.inputs(texts[start : start + TEXTS_AT_ONCE])
                out[start : start + TEXTS_AT_ONCE] = unit_length(self._features(inputs))
        return out

    def encode_long(self, texts: Sequence[str]) -> Vectors:
        """Vectors (n, D) float32 of whole texts.

        One past the model's limit is cut into chunks that fit, at the ends of sentences or words; its vector is the
        mean of its chunks' vectors, each weighted by its number of tokens, at norm 1.
        """
        pieces = [self._tokens.chunks(text) for text in texts]
        vectors = self.encode([chunk for chunks in pieces for chunk, _ in chunks])
        if all(len(chunks) == 1 for chunks in pieces):
            return vectors
        weights = np.array([tokens for chunks in pieces for _, tokens in chunks], dtype=np.float32)
        starts = np.cumsum([0, *(len(chunks) for chunks in pieces[:-1])])
        single = np.array([len(chunks) == 1 for chunks in pieces])
        means = unit_length(np.add.reduceat(vectors * weights[:, np.newaxis], starts, axis=0))
        means[single] = vectors[starts[single]]  # as a query of the same words gets it, not rounded once more
        return means

    def _features(self, inputs: Mapping[str, Any]) -> Vectors:
        try:
            moved = {name: tensor.to(self._device) for name, tensor in inputs.items()}
            found: Vectors = self._network.get_text_features(**moved).pooler_output.float().cpu().numpy()
            return found
        except RuntimeError as error:
            raise EncodeFailed(
                f"the model {self._tokens.name!r} failed on {len(inputs['input_ids'])} texts on {self._device} "
                f"({type(error).__name__}: {error}); where memory is short, free some or set `device` to cpu"
            ) from error
