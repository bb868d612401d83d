from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embeddings_dagster.encoders.fitting import brightness, fitting
from embeddings_dagster.errors import ModelError, PrepareFailed
from embeddings_dagster.settings_models import NetworkSettings
from embeddings_dagster_tests.encoders.tiny import picture


def network(**changes: object) -> NetworkSettings:
    return NetworkSettings.model_validate({"architecture": "a:B", "dimension": 1, "image_size": 16, **changes})


def own(tmp_path: Path, text: str) -> NetworkSettings:
    (tmp_path / "own.py").write_text(text)
    return network(preprocess=f"{tmp_path / 'own.py'}:fit")


def test_brightness_is_to_the_bit_what_torchvision_computes() -> None:
    """By the operations of its `to_tensor` and `normalize`, since it is not installed here."""
    import torch

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    levels = torch.arange(256, dtype=torch.uint8).expand(3, 256).to(torch.float32).div(255)
    expected = levels.clone().sub_(torch.tensor(mean)[:, None]).div_(torch.tensor(std)[:, None])
    assert np.array_equal(brightness(mean, std), expected.numpy())
    assert np.array_equal(brightness((0, 0, 0), (1, 1, 1)), levels.numpy())


def test_squash_scales_all_of_it() -> None:
    image = picture(0, (70, 30))
    assert np.array_equal(fitting(network())(image), np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC)))


def test_crop_takes_the_middle() -> None:
    """Three equal parts, of which only the middle one is seen."""
    image = Image.new("RGB", (96, 32), "red")
    image.paste("blue", (32, 0, 64, 32))
    found = np.asarray(fitting(network(resize="crop"))(image))
    assert (found[:, 2:-2] == (0, 0, 255)).all()
    assert np.array_equal(
        fitting(network(resize="crop"))(image.rotate(90, expand=True))[2:-2], found[:, 2:-2].transpose(1, 0, 2)
    )


@pytest.mark.parametrize("size", [(32, 8), (8, 32)])
def test_pad_keeps_all_of_it_in_the_middle_of_black(size: tuple[int, int]) -> None:
    found = fitting(network(resize="pad"))(Image.new("RGB", size, "white"))
    if size[0] < size[1]:
        found = found.transpose(1, 0, 2)
    assert found.any(axis=(1, 2)).tolist() == [False] * 6 + [True] * 4 + [False] * 6
    assert (found[6:10] == 255).all()


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_fast_is_within_a_few_levels_and_may_be_reduced_before(resize: str) -> None:
    exact, fast = (fitting(network(resize=resize), fast=each) for each in (False, True))
    image = picture(1, (90, 64))
    assert abs(exact(image).astype(int) - fast(image).astype(int)).max() <= 2
    assert (exact.enough, fast.enough) == (0, 32)


@settings(max_examples=60, deadline=None)
@given(
    width=st.one_of(st.integers(1, 40), st.just(9000)),
    height=st.one_of(st.integers(1, 40), st.just(7000)),
    resize=st.sampled_from(["squash", "crop", "pad"]),
    side=st.integers(1, 33),
)
def test_pictures_of_any_shape_fit(width: int, height: int, resize: str, side: int) -> None:
    if width * height > 10**6:
        width = 1
    found = fitting(network(resize=resize, image_size=side))(Image.new("RGB", (width, height), "white"))
    assert (found.shape, found.dtype) == ((side, side, 3), np.uint8)
    if resize != "pad":
        assert (found == 255).all()


@pytest.mark.parametrize("made", ["array", "torch.from_numpy(array)"])
def test_ones_own_function_takes_its_place(tmp_path: Path, made: str) -> None:
    text = (
        "import numpy, torch\ndef fit(image):\n"
        f"    array = numpy.asarray(image.resize((6, 4))).transpose(2, 0, 1) / 2\n    return {made}\n"
    )
    fit = fitting(own(tmp_path, text))
    found = fit(Image.new("RGB", (30, 20), (10, 20, 30)))
    assert (fit.size, fit.table, found.dtype) == ((4, 6), None, np.float32)
    assert found[:, 0, 0].tolist() == [5, 10, 15]


def test_ones_own_class_is_made_once(tmp_path: Path) -> None:
    text = "import numpy\nclass fit:\n    def __call__(self, image):\n        return numpy.zeros((3, 2, 2), 'f4')\n"
    assert fitting(own(tmp_path, text))(picture(0)).shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "return image.size",
            r"gives \(\) for a wide picture and \(\) for a high one; it is to give numbers of one sh",
        ),
        ("return numpy.zeros((4, 4, 3))", r"gives \(4, 4, 3\) for a wide"),
        (
            "return numpy.zeros((3, *image.size))",
            r"gives \(3, 9, 5\) for a wide picture and \(3, 5, 9\) for a high one",
        ),
        ("return numpy.zeros((3, 0, 4))", r"gives \(3, 0, 4\) for a wide"),
        ("\n    return image.no_such", r"fails \(AttributeError: .*'no_such', own.py line 4\)"),
    ],
)
def test_a_function_that_gives_something_else_is_refused(tmp_path: Path, body: str, said: str) -> None:
    with pytest.raises(ModelError, match=r"`network.preprocess` '.*own.py:fit' " + said):
        fitting(own(tmp_path, f"import numpy\ndef fit(image):\n    {body}\n"))


def test_a_picture_that_ends_up_with_another_shape_costs_itself(tmp_path: Path) -> None:
    text = "import numpy\ndef fit(image):\n    return numpy.zeros((3, 4, 4 + (image.width > 50)), 'f4')\n"
    fit = fitting(own(tmp_path, text))
    with pytest.raises(PrepareFailed, match=r"gives \(3, 4, 5\) for this picture of 60 x 9 pixels and \(3, 4, 4\)"):
        fit(Image.new("RGB", (60, 9)))
