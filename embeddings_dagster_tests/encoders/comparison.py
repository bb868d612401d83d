"""What a plain script with transformers makes of pictures and texts, and what our encoders make of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from embeddings_dagster.encoders import Encoder
from embeddings_dagster.encoders.base import Prepared
from embeddings_dagster_tests.encoders import tiny
from embeddings_dagster_tests.encoders.tiny import cosines

TEXTS = ["red heart", "a dog face", "", "pizza " * 200, "naïve ✨ 犬"]


def prepared(encoder: Encoder, images: Sequence[Image.Image]) -> list[Prepared]:
    """The pictures, each an image of its own."""
    units = [tiny.unit(str(number)) for number in range(len(images))]
    return [Prepared(unit, encoder.prepare(image, unit)) for unit, image in zip(units, images, strict=True)]


def ours(encoder: Encoder, images: Sequence[Image.Image], batch_size: int = 2) -> np.ndarray:
    """Vectors (n, D) of the pictures."""
    return encoder.encode(prepared(encoder, images), batch_size)


def their_model(folder: Path) -> Any:
    import torch
    import transformers

    return transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()


def theirs(folder: Path, images: Sequence[Image.Image]) -> np.ndarray:
    """What transformers makes of the pictures, one at a time: pooled features, or the class token; not normalised."""
    import torch
    import transformers

    model = their_model(folder)
    prepare = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    rows = []
    with torch.no_grad():
        for image in images:
            pixels = prepare(images=image, return_tensors="pt")["pixel_values"]
            if hasattr(model, "get_image_features"):
                rows.append(model.get_image_features(pixels).pooler_output[0].numpy())
            else:
                rows.append(model(pixels).last_hidden_state[0, 0].numpy())
    return np.stack(rows)


def their_texts(folder: Path, texts: Sequence[str], limit: int, *, fills_up: bool = False) -> np.ndarray:
    """What transformers makes of the texts, one at a time, cut at `limit` tokens, or filled up to it (SigLIP)."""
    import torch
    import transformers

    model = their_model(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    padding = "max_length" if fills_up else False
    rows = []
    with torch.no_grad():
        for text in texts:
            tokens = tokenizer(text, padding=padding, truncation=True, max_length=limit, return_tensors="pt")
            rows.append(model.get_text_features(tokens["input_ids"]).pooler_output[0].numpy())
    return np.stack(rows)


def assert_same_directions(mine: np.ndarray, reference: np.ndarray) -> None:
    """`mine` are the rows of `reference` at length 1, and in the same order."""
    assert mine.dtype == np.float32
    assert np.allclose(np.linalg.norm(mine, axis=1), 1, atol=1e-6)
    assert cosines(reference, np.roll(reference, 1, axis=0)).max() < 0.9999, "too alike to tell a mix-up"
    assert cosines(mine, reference).min() >= 0.999999
    assert np.allclose(mine, reference / np.linalg.norm(reference, axis=1, keepdims=True), rtol=0, atol=1e-5)
