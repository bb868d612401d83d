"""Scaling and cutting. That by Pillow it is what transformers does, to the bit, is tested with the processors."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from embeddings_dagster.encoders.scaling import FAST_FILTERS, Scaling
from embeddings_dagster_tests.encoders import tiny

BICUBIC = int(Image.Resampling.BICUBIC)


def photo_like(seed: int, size: tuple[int, int]) -> Image.Image:
    """Smooth colours with a grain."""
    grain = np.random.default_rng(seed).normal(0, 12, (*size[::-1], 3))
    return Image.fromarray((np.asarray(tiny.picture(seed, size)) + grain).clip(0, 255).astype(np.uint8))


def test_long_pictures_keep_their_shape_rounded_down() -> None:
    scaling = Scaling(BICUBIC, short_edge=224)
    assert scaling.scaled_size((475, 475)) == (224, 224)
    assert scaling.scaled_size((640, 427)) == (335, 224)
    assert scaling.scaled_size((427, 640)) == (224, 335)


@pytest.mark.parametrize("resample", FAST_FILTERS)
@pytest.mark.parametrize("cut", [(48, 48), (60, 50), (90, 90), None])
def test_fast_is_within_one_level_of_pillow(resample: int, cut: tuple[int, int] | None) -> None:
    off, scaling = [], Scaling(resample, short_edge=56, cut=cut)
    for seed, size in enumerate([(475, 475), (56, 56), (57, 55), (20, 31), (900, 300), (301, 777), (1, 9), (64, 56)]):
        for image in (tiny.picture(seed, size), photo_like(seed, size)):
            exact, fast = scaling.by_pillow(image), scaling.by_torch(image)
            assert fast.shape == exact.shape
            assert fast.flags.c_contiguous
            off.append(np.abs(fast.astype(int) - exact.astype(int)).ravel())
    levels = np.concatenate(off)
    assert levels.max() <= 2
    assert (levels > 1).mean() < 1e-4


def test_fast_says_nothing_on_stderr_whatever_the_filters_of_warnings() -> None:
    """In a process of its own, since torch warns of arrays that may not be written to but once in each."""
    program = (
        "from PIL import Image\n"
        "from embeddings_dagster.encoders.scaling import Scaling\n"
        "import warnings; warnings.resetwarnings(); warnings.simplefilter('always')\n"
        "print(Scaling(3, short_edge=4, cut=(4, 4)).by_torch(Image.new('RGB', (9, 7), 'red')).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("(4, 4, 3)\n", "")


def test_what_is_enough_is_twice_what_is_scaled_to() -> None:
    assert Scaling(BICUBIC, short_edge=256, cut=(224, 224)).enough == 512
    assert Scaling(BICUBIC, exact=(200, 384)).enough == 768
    assert Scaling(BICUBIC, cut=(224, 224)).enough == 0, "it is not scaled"
    assert Scaling(int(Image.Resampling.NEAREST), short_edge=224).enough == 0, "it would pick other pixels"
