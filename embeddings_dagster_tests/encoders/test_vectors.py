"""Vectors are transformers' own, at the published sizes, for the bundled models, and whatever the batch."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.encoders import encode_image, identify, load
from embeddings_dagster.encoders.text_side import TEXTS_AT_ONCE
from embeddings_dagster.errors import EmptyRegion, ModelError
from embeddings_dagster.images.regions import Box
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders import tiny, tiny_kin
from embeddings_dagster_tests.encoders.comparison import TEXTS, assert_same_directions, ours, their_texts, theirs

BUNDLED = Path(__file__).parents[2] / "embeddings_dagster/bundled"
BUNDLED_CLIP = ModelSettings(kind="clip", model="bundled:clip")
BUNDLED_DINO = ModelSettings(kind="dino", model="bundled:dino")
PICTURES = [tiny.picture(seed, size) for seed, size in enumerate([(475, 475), (300, 200), (17, 90)])]


def test_a_clip_of_the_published_size_is_transformers_own(tmp_path: Path) -> None:
    model = tiny.save_clip(tmp_path, tiny.full_clip_config())
    encoder = load(model)
    assert (encoder.dimension, encoder.image_size, identify(model).dimension) == (512, (224, 224), 512)
    assert_same_directions(ours(encoder, PICTURES), theirs(tmp_path, PICTURES))
    assert_same_directions(encoder.encode_text(TEXTS[:3]), their_texts(tmp_path, TEXTS[:3], 77))


def test_a_dino_of_the_published_size_is_transformers_own(tmp_path: Path) -> None:
    encoder = load(tiny.save_dino(tmp_path, tiny.full_dino_config(), size=224))
    assert (encoder.dimension, encoder.image_size) == (384, (224, 224))
    assert_same_directions(ours(encoder, PICTURES), theirs(tmp_path, PICTURES))


def test_a_siglip_of_the_published_size_is_transformers_own(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece", reason="the tokenizer of SigLIP needs it")
    model = tiny_kin.save_siglip(tmp_path, tiny_kin.full_siglip_config())
    encoder = load(model)
    assert (encoder.dimension, encoder.image_size, identify(model).dimension) == (768, (224, 224), 768)
    assert_same_directions(ours(encoder, PICTURES), theirs(tmp_path, PICTURES))
    assert_same_directions(encoder.encode_text(TEXTS[:3]), their_texts(tmp_path, TEXTS[:3], 64, fills_up=True))


def test_the_bundled_models_are_transformers_own() -> None:
    clip, dino = load(BUNDLED_CLIP), load(BUNDLED_DINO)
    assert_same_directions(ours(clip, PICTURES), theirs(BUNDLED / "clip", PICTURES))
    assert_same_directions(ours(dino, PICTURES), theirs(BUNDLED / "dino", PICTURES))
    words = json.loads((BUNDLED / "clip/config.json").read_text())["text_config"]["max_position_embeddings"]
    assert_same_directions(clip.encode_text(TEXTS), their_texts(BUNDLED / "clip", TEXTS, words))


@pytest.mark.parametrize("model", [BUNDLED_CLIP, BUNDLED_DINO], ids=lambda model: model.kind)
def test_an_image_has_the_same_vector_whatever_batch_it_is_in(model: ModelSettings) -> None:
    encoder = load(model)
    images = [tiny.picture(seed, (80, 60)) for seed in range(7)]
    alone = ours(encoder, images, batch_size=1)
    for batch_size in (2, 6, 32):
        assert np.abs(ours(encoder, images, batch_size) - alone).max() <= 1e-6
    assert np.abs(ours(encoder, images[::-1], 5)[::-1] - alone).max() <= 1e-6
    assert np.array_equal(encode_image(encoder, images[3]), alone[3])


def test_a_text_has_the_same_vector_whatever_it_is_asked_with(tiny_clip: ModelSettings) -> None:
    encoder = load(tiny_clip)
    texts = [f"{'a ' * (n % 9)}dog" for n in range(TEXTS_AT_ONCE + 6)]
    together = encoder.encode_text(texts)
    alone = np.concatenate([encoder.encode_text([text]) for text in texts[-9:]])
    assert np.abs(together[-9:] - alone).max() <= 1e-6
    assert encoder.encode_text([]).shape == (0, 24)


def test_texts_may_be_asked_for_from_several_threads(tiny_clip: ModelSettings) -> None:
    encoder = load(tiny_clip)
    asked = [["dog " * (n % 7), "pizza"][: 1 + n % 2] for n in range(20)]
    expected = [encoder.encode_text(texts) for texts in asked]
    with ThreadPoolExecutor(6) as pool:
        for found, alone in zip(pool.map(encoder.encode_text, asked), expected, strict=True):
            assert np.array_equal(found, alone)


def test_regions_are_cropped_from_the_page(tiny_dino: ModelSettings) -> None:
    encoder, page = load(tiny_dino), tiny.picture(5, (60, 40))
    panels = encoder.prepare(page, tiny.unit("page", boxes=(None, Box(10, 5, 30, 20), Box(50, 30, 99, 99))))
    assert (panels.shape, panels.dtype) == ((3, 32, 32, 3), np.uint8)
    assert np.array_equal(panels[1], encoder.prepare(page.crop((10, 5, 40, 25)), tiny.unit("panel"))[0])
    with pytest.raises(EmptyRegion, match="covers nothing"):
        encoder.prepare(page, tiny.unit("page", boxes=(Box(60, 0, 5, 5),)))


def test_a_model_of_pictures_only_says_so_when_asked_for_text(tiny_dino: ModelSettings) -> None:
    encoder = load(tiny_dino)
    assert not encoder.has_text
    with pytest.raises(ModelError, match="knows pictures only, no text; ask a model of kind clip"):
        encoder.encode_text(["dog"])


def test_a_closed_model_encodes_no_more(tiny_clip: ModelSettings) -> None:
    encoder = load(tiny_clip)
    encoder.close()
    encoder.close()
    with pytest.raises(ModelError, match="has been closed; load it again"):
        encoder.encode_text(["dog"])
    assert load(tiny_clip).encode_text(["dog"]).shape == (1, 24)
