"""CLIP: pictures and texts in one space, the projected features that transformers' own CLIP classes give."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from embeddings_dagster.encoders.base import Vectors
from embeddings_dagster.encoders.network import NetworkEncoder
from embeddings_dagster.encoders.preprocess import Preprocessor
from embeddings_dagster.errors import ModelError

TEXTS_AT_ONCE = 64


class ClipEncoder(NetworkEncoder):
    """Both sides of a CLIP."""

    has_text = True

    def __init__(
        self,
        name: str,
        network: Any,
        preprocessor: Preprocessor,
        tokenizer: Any,
        *,
        device: str,
        dimension: int,
    ) -> None:
        """Raises:
        ModelError: the network is no CLIP, or the tokenizer is not the one it was trained with.
        """
        if not hasattr(network, "get_image_features") or not hasattr(network, "get_text_features"):
            raise ModelError(f"the model {name!r} is a {type(network).__name__}, not a CLIP; correct `kind` or `model`")
        super().__init__(name, network, preprocessor, device=device, dimension=dimension)
        self._tokenizer = tokenizer
        self._tokenizer_lock = threading.Lock()  # its padding is state: two threads at once raise "Already borrowed"
        self._words = int(network.config.text_config.max_position_embeddings)
        _check_tokenizer(name, network.config.text_config, self._tokens([""])["input_ids"])

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder.encode_text`."""
        network, torch = self._open(), self._torch
        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                tokens = self._tokens(texts[start : start + TEXTS_AT_ONCE])
                moved = {name: self._moved(tensor) for name, tensor in tokens.items()}
                features = network.get_text_features(**moved).pooler_output
                out[start : start + TEXTS_AT_ONCE] = self._unit_length(features)
        return out

    def _image_features(self, network: Any, pixels: Any) -> Any:
        return network.get_image_features(pixel_values=pixels).pooler_output

    def _tokens(self, texts: Sequence[str]) -> dict[str, Any]:
        with self._tokenizer_lock:
            encoded = self._tokenizer(
                list(texts), padding=True, truncation=True, max_length=self._words, return_tensors="pt"
            )
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def _check_tokenizer(name: str, config: Any, ids: Any) -> None:
    """The feature of a text is that of its end token: without one, all texts would get the same vector.

    Older checkpoints say `eos_token_id` 2 whatever it is, and transformers takes the highest id instead.
    """
    highest = int(ids.max())
    if highest >= config.vocab_size or (config.eos_token_id != 2 and not bool((ids == config.eos_token_id).any())):
        raise ModelError(
            f"the tokenizer of the model {name!r} does not fit it: an empty text becomes {ids.tolist()}, the end token "
            f"is {config.eos_token_id} of {config.vocab_size}; take all its files from one place"
        )
