"""Kin of CLIP and DINOv2: whatever transformers has of them that fits is encoded as transformers itself would."""

from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.encoders import load
from embeddings_dagster_tests.encoders import tiny, tiny_kin
from embeddings_dagster_tests.encoders.comparison import TEXTS, assert_same_directions, ours, their_texts, theirs
from embeddings_dagster_tests.encoders.tiny import cosines

PICTURES = [tiny.picture(seed, size) for seed, size in enumerate([(120, 40), (32, 32), (17, 90), (640, 1000), (3, 50)])]
LIMIT = 12  # tokens, of each of them


@pytest.mark.parametrize("model_type", sorted(tiny_kin.CLIP_KIN))
def test_a_kin_of_clip_is_transformers_own(tmp_path: Path, model_type: str) -> None:
    if model_type == "siglip":
        pytest.importorskip("sentencepiece", reason="the tokenizer of SigLIP needs it")
    encoder = load(tiny_kin.save_clip_kin(tmp_path, model_type))
    assert encoder.dimension == (32 if model_type == "siglip" else 24)
    assert (encoder.image_size, encoder.has_text) == ((32, 32), True)
    assert_same_directions(ours(encoder, PICTURES), theirs(tmp_path, PICTURES))
    fills_up = model_type == "siglip"
    assert_same_directions(encoder.encode_text(TEXTS[:3]), their_texts(tmp_path, TEXTS[:3], LIMIT, fills_up=fills_up))
    assert cosines(encoder.encode_text(TEXTS), their_texts(tmp_path, TEXTS, LIMIT, fills_up=fills_up)).min() >= 0.999999


@pytest.mark.parametrize("model_type", sorted(tiny_kin.CLIP_KIN))
def test_in_bf16_pictures_and_texts_are_read_by_networks_that_hold_no_part_of_the_other(
    tmp_path: Path, model_type: str
) -> None:
    if model_type == "siglip":
        pytest.importorskip("sentencepiece", reason="the tokenizer of SigLIP needs it")
    model = tiny_kin.save_clip_kin(tmp_path, model_type)
    exact, encoder = load(model), load(model.model_copy(update={"precision": "bf16"}))
    near = 0.98 if model_type == "groupvit" else 0.999  # it puts each patch into one group or another
    assert cosines(ours(encoder, PICTURES), ours(exact, PICTURES)).min() >= near
    assert np.array_equal(encoder.encode_text(TEXTS), exact.encode_text(TEXTS))


@pytest.mark.parametrize("model_type", sorted(tiny_kin.DINO_KIN))
def test_a_kin_of_dino_is_transformers_own(tmp_path: Path, model_type: str) -> None:
    encoder = load(tiny_kin.save_dino_kin(tmp_path, model_type))
    assert (encoder.dimension, encoder.image_size, encoder.has_text) == (32, (32, 32), False)
    assert_same_directions(ours(encoder, PICTURES), theirs(tmp_path, PICTURES))
