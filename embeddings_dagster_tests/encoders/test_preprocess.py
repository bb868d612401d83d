from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embeddings_dagster.encoders.preprocess import LONGEST_SQUARES, Preprocessor, apply_table, middle
from embeddings_dagster.errors import ModelError
from embeddings_dagster_tests.encoders import tiny

# Pytest undoes the filter that `scaling` sets when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")

SIZES = [(1, 1), (3, 2), (10, 10), (224, 224), (225, 223), (475, 475), (2000, 1111), (1, 31), (640, 20)]


KINDS: dict[str, tuple[str, int, dict[str, object]]] = {
    "CLIP": ("CLIPImageProcessor", 224, {}),
    "DINOv2": ("BitImageProcessor", 224, {"size": {"shortest_edge": 256}}),
    "SigLIP": ("SiglipImageProcessor", 224, {"size": {"height": 224, "width": 224}, "do_center_crop": None}),
    "no square": ("SiglipImageProcessor", 0, {"size": {"height": 48, "width": 80}, "do_center_crop": None}),
    "cut larger than scaled": ("CLIPImageProcessor", 40, {"size": {"shortest_edge": 31}}),
    "not scaled": ("CLIPImageProcessor", 50, {"do_resize": False}),
    "not normalised": ("CLIPImageProcessor", 32, {"do_normalize": False}),
    "not even rescaled": ("CLIPImageProcessor", 32, {"do_normalize": False, "do_rescale": False}),
    "another scale": ("BitImageProcessor", 32, {"rescale_factor": 1 / 127.5, "resample": 2}),
    "another filter": ("BitImageProcessor", 33, {"resample": 1}),
    "no filter": ("CLIPImageProcessor", 33, {"resample": 0}),
}
SHAPES = st.tuples(st.integers(1, 300), st.integers(1, 300)).filter(lambda size: max(size) <= 30 * min(size))


def opened(folder: Path, kind: str, *, fast: bool = False) -> tuple[Preprocessor, Any]:
    """Ours and that of transformers."""
    import transformers

    name, edge, changes = KINDS[kind]
    tiny.save_processor(folder, name, edge, **changes)
    return Preprocessor(folder, fast=fast), getattr(transformers, f"{name}Pil").from_pretrained(folder)


def brightness(ours: Preprocessor, image: Image.Image) -> np.ndarray:
    pixels = ours(image)
    if ours.table is None:
        return pixels
    assert pixels.dtype == np.uint8
    return apply_table(pixels[np.newaxis], ours.table)[0]


def asked(theirs: Any, image: Image.Image) -> np.ndarray:
    return np.asarray(theirs(images=image, return_tensors="np")["pixel_values"][0])


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_the_models_own_processor_to_the_bit(tmp_path: Path, kind: str) -> None:
    ours, theirs = opened(tmp_path, kind)
    assert ours.table is not None
    assert ours.table.shape == (3, 256)
    assert ours.enough == 0
    for seed, size in enumerate(SIZES):
        image = tiny.picture(seed, size)
        expected = asked(theirs, image)
        assert expected.shape == (3, *ours.size)
        assert np.array_equal(brightness(ours, image), expected)


def test_pixels_are_the_same_to_the_bit_whatever_the_shape(tmp_path_factory: pytest.TempPathFactory) -> None:
    both = {kind: opened(tmp_path_factory.mktemp("processor"), kind) for kind in KINDS}

    @given(st.sampled_from(sorted(KINDS)), st.integers(0, 99), SHAPES)
    @settings(max_examples=150, deadline=None)
    def same(kind: str, seed: int, size: tuple[int, int]) -> None:
        ours, theirs = both[kind]
        noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        assert np.array_equal(brightness(ours, image), asked(theirs, image))

    same()


@pytest.mark.parametrize("changes", [{"do_pad": True, "pad_size": {"height": 40, "width": 40}}, {"crop_pct": 0.8}])
def test_a_processor_that_does_more_is_asked_itself(tmp_path: Path, changes: dict[str, object]) -> None:
    import transformers

    name = "ConvNextImageProcessor" if "crop_pct" in changes else "CLIPImageProcessor"
    tiny.save_processor(tmp_path, name, 32, **changes)
    theirs = getattr(transformers, f"{name}Pil").from_pretrained(tmp_path)
    for fast in (False, True):
        ours = Preprocessor(tmp_path, fast=fast)
        assert (ours.table, ours.enough) == (None, 0)
        image = tiny.picture(1, (90, 50))
        assert ours(image).dtype == np.float32
        assert np.array_equal(ours(image), asked(theirs, image))


def test_fast_allows_for_another_rounding_and_for_reduced_pictures(tmp_path: Path) -> None:
    exact, fast = opened(tmp_path, "DINOv2")[0], opened(tmp_path, "DINOv2", fast=True)[0]
    assert (exact.enough, fast.enough) == (0, 512)
    assert np.array_equal(exact.table, fast.table)
    for seed, size in enumerate(SIZES):
        image = tiny.picture(seed, size)
        off = np.abs(exact(image).astype(int) - fast(image).astype(int))
        assert (off.max(), (off > 1).mean()) <= (2, 1e-4)


def test_fast_leaves_other_filters_to_pillow(tmp_path: Path) -> None:
    exact, fast = opened(tmp_path, "another filter")[0], opened(tmp_path, "another filter", fast=True)[0]
    image = tiny.picture(3, (90, 80))
    assert np.array_equal(exact(image), fast(image))


def test_a_processor_of_patches_is_refused(tmp_path: Path) -> None:
    tiny.save_processor(tmp_path, "Siglip2ImageProcessor", 32, patch_size=16, max_num_patches=4)
    with pytest.raises(ModelError, match=r"arrays of shape \(4, 768\), not pictures of three channels; take a model"):
        Preprocessor(tmp_path)


def test_a_processor_of_another_task_is_refused(tmp_path: Path) -> None:
    tiny.save_processor(tmp_path, "LightGlueImageProcessor", 32)
    with pytest.raises(ModelError, match=r"does not take a plain picture \(ValueError: .*pair.*; take a model whose"):
        Preprocessor(tmp_path)


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
        assert np.allclose(brightness(ours, image), asked(theirs, image), atol=0.05)
    assert ours(Image.new("RGB", (1, 65_000))).shape == (32, 32, 3)


def test_a_processor_whose_pictures_differ_in_size_is_refused(tmp_path: Path) -> None:
    tiny.save_processor(tmp_path, "BitImageProcessor", 32, do_center_crop=False)
    with pytest.raises(ModelError, match=r"give pictures of unlike sizes, .* set do_center_crop and crop_size"):
        Preprocessor(tmp_path)
