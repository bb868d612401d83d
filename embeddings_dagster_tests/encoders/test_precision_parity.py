"""Faster ways to compute the same vectors stay within what the gate allows, for each family; texts stay as they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.encoders import Encoder, load
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders import tiny, tiny_kin
from embeddings_dagster_tests.encoders.comparison import TEXTS, ours
from embeddings_dagster_tests.encoders.tiny import cosines

PICTURES = [tiny.picture(seed, size) for seed, size in enumerate([(64, 64), (475, 475), (300, 40), (1, 7), (33, 500)])]


def bundled(kind: str) -> Callable[[Path], ModelSettings]:
    return lambda folder: ModelSettings(kind=kind, model=f"bundled:{kind}")  # type: ignore[arg-type]


def save_siglip(folder: Path) -> ModelSettings:
    pytest.importorskip("sentencepiece", reason="the tokenizer of SigLIP needs it")
    return tiny_kin.save_siglip(folder)


MODELS: dict[str, Callable[[Path], ModelSettings]] = {
    "clip": bundled("clip"),
    "dinov2": bundled("dino"),
    "dinov2 with registers": lambda folder: tiny_kin.save_dino_kin(folder, "dinov2_with_registers"),
    "siglip": save_siglip,
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("backend", "precision", "least"),
    [("torch", "bf16", 0.999), ("openvino", "fp32", 0.99999), ("openvino", "bf16", 0.999)],
)
def test_vectors_are_those_of_float32_within_the_tolerance(
    tmp_path: Path, name: str, backend: str, precision: str, least: float
) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="the backend openvino is an extra")
    model = MODELS[name](tmp_path / "model")
    exact = load(model)
    fast = load(model.model_copy(update={"backend": backend, "precision": precision}), cache=tmp_path / "cache")
    assert (exact.precision, fast.precision, fast.dimension) == ("fp32", precision, exact.dimension)
    reference, found = ours(exact, PICTURES), ours(fast, PICTURES, 3)
    assert cosines(reference, np.roll(reference, 1, axis=0)).max() < least, "too alike to tell a mix-up"
    assert cosines(found, reference).min() >= least
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert_same_texts(exact, fast)


def assert_same_texts(exact: Encoder, fast: Encoder) -> None:
    """A question is asked in float32 whatever the pictures are computed in."""
    assert fast.has_text == exact.has_text
    if exact.has_text:
        assert np.array_equal(fast.encode_text(TEXTS), exact.encode_text(TEXTS))
