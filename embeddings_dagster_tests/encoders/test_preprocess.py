from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embeddings_dagster.encoders.preprocess import LONGEST_SQUARES, Preprocessor, middle
from embeddings_dagster.errors import ModelError
from embeddings_dagster_tests.encoders import tiny

SIZES = [(1, 1), (3, 2), (10, 10), (224, 224), (225, 223), (475, 475), (2000, 1111), (1, 31), (640, 20)]


@pytest.mark.parametrize("kind", ["CLIPImageProcessor", "BitImageProcessor"])
def test_pixels_are_those_of_the_models_own_processor_to_the_bit(tmp_path: Path, kind: str) -> None:
    import transformers

    tiny.save_processor(tmp_path, kind, 224)
    theirs = getattr(transformers, f"{kind}Pil").from_pretrained(tmp_path)
    ours = Preprocessor(tmp_path)
    assert ours.size == (224, 224)
    for seed, size in enumerate(SIZES):
        image = tiny.picture(seed, size)
        expected = theirs(images=image, return_tensors="np")["pixel_values"][0]
        assert np.array_equal(ours(image), expected)
        assert ours(image).dtype == np.float32


def test_threads_do_not_disturb_each_other(tmp_path: Path) -> None:
    tiny.save_processor(tmp_path, "CLIPImageProcessor", 64)
    ours = Preprocessor(tmp_path)
    images = [tiny.picture(seed, (50 + seed, 90 - seed)) for seed in range(40)]
    expected = [ours(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        for pixels, alone in zip(pool.map(ours, images), expected, strict=True):
            assert np.array_equal(pixels, alone)


def test_a_thin_picture_keeps_its_middle_and_is_not_scaled_whole(tmp_path: Path) -> None:
    from transformers import CLIPImageProcessorPil

    tiny.save_processor(tmp_path, "CLIPImageProcessor", 32)
    theirs = CLIPImageProcessorPil.from_pretrained(tmp_path)
    ours = Preprocessor(tmp_path)
    for size in ((10, 2001), (2001, 10), (10, 2000)):
        image = tiny.picture(1, size)
        assert max(middle(image).size) <= 10 * LONGEST_SQUARES + 1
        expected = theirs(images=image, return_tensors="np")["pixel_values"][0]
        assert np.allclose(ours(image), expected, atol=0.05)
    assert ours(Image.new("RGB", (1, 65_000))).shape == (3, 32, 32)


def test_a_processor_whose_pictures_differ_in_size_is_refused(tmp_path: Path) -> None:
    tiny.save_processor(tmp_path, "BitImageProcessor", 32, do_center_crop=False)
    with pytest.raises(ModelError, match=r"give pictures of unlike sizes, .* set do_center_crop and crop_size"):
        Preprocessor(tmp_path)
