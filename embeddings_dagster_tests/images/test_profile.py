import numpy as np
import pytest
from PIL import Image, ImageCms

from embeddings_dagster.images import decode
from embeddings_dagster.images.profile import MAX_PROFILE_BYTES
from embeddings_dagster_tests.images.pictures import (
    RULES,
    file_of,
    gradient,
    gradient_rgba,
    ink_profile,
    linear_grey_profile,
    linear_profile,
    srgb_profile,
    ycck_jpeg,
)

INKS = {"paper": (0, 0, 0, 0), "cyan": (255, 0, 0, 0), "magenta": (0, 255, 0, 0), "yellow": (0, 0, 255, 0)}
# The Lab values (D50) of the handmade profile in sRGB: by a Bradford adaptation and the formulas of IEC 61966-2-1.
SHOWN = {"paper": (255, 255, 255), "cyan": (0, 151, 218), "magenta": (216, 12, 122), "yellow": (247, 224, 0)}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_colours_are_brought_to_srgb(kind: str) -> None:
    grey = Image.new("RGB", (8, 8), (128, 128, 128))
    found = decode(file_of(grey, kind, icc_profile=linear_profile()), RULES).getpixel((4, 4))
    assert found == pytest.approx((188, 188, 188), abs=1), "linear 128/255 is 188 in sRGB"


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_alpha_is_composited_after_the_profile(mode: str) -> None:
    image = Image.new("RGBA", (4, 4), (128, 128, 128, 0))
    image.paste((128, 128, 128, 255), (0, 0, 2, 4))
    if mode == "P":
        image = image.quantize()
    found = decode(file_of(image, "PNG", icc_profile=linear_profile()), RULES)
    assert found.getpixel((0, 0)) == pytest.approx((188, 188, 188), abs=1)
    assert found.getpixel((3, 0)) == (255, 255, 255), "the background is sRGB already"


def test_a_profile_that_is_srgb_moves_no_pixel() -> None:
    plain = decode(file_of(gradient_rgba(), "PNG"), RULES)
    tagged = decode(file_of(gradient_rgba(), "PNG", icc_profile=srgb_profile()), RULES)
    assert plain.tobytes() == tagged.tobytes()


@pytest.mark.parametrize(
    "profile",
    [
        b"junk",
        bytes(200),
        srgb_profile()[:300],
        linear_profile()[:-400],
        linear_profile().ljust(MAX_PROFILE_BYTES + 1, b"\0"),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
    ],
    ids=["junk", "zeros", "truncated", "truncated in a curve", "huge", "another colour space"],
)
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_a_profile_that_makes_no_sense_is_ignored(profile: bytes, kind: str) -> None:
    expected = decode(file_of(gradient(), kind), RULES)
    assert decode(file_of(gradient(), kind, icc_profile=profile), RULES).tobytes() == expected.tobytes()


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_a_grey_profile_is_applied_to_grey(mode: str) -> None:
    grey = Image.new(mode, (4, 4), {"L": 128, "LA": (128, 255), "I;16": 128 * 257}[mode])
    found = decode(file_of(grey, "PNG", icc_profile=linear_grey_profile()), RULES).getpixel((0, 0))
    assert found == pytest.approx((188, 188, 188), abs=1)


def test_a_profile_for_rgb_is_not_applied_to_grey() -> None:
    grey = gradient().convert("L")
    found = decode(file_of(grey, "PNG", icc_profile=linear_profile()), RULES)
    assert np.array_equal(np.asarray(found)[..., 0], np.asarray(grey))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("ink", INKS)
def test_ink_is_shown_as_its_profile_says(kind: str, ink: str) -> None:
    data = file_of(Image.new("CMYK", (16, 16), INKS[ink]), kind, icc_profile=ink_profile())
    assert decode(data, RULES).getpixel((8, 8)) == pytest.approx(SHOWN[ink], abs=4)


def test_ink_without_a_profile_is_the_plain_inverse() -> None:
    for ink, shown in ((0, 0, 0, 0), (255, 255, 255)), ((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0)):
        found = decode(file_of(Image.new("CMYK", (16, 16), ink), "JPEG", quality=100), RULES)
        assert found.getpixel((8, 8)) == pytest.approx(shown, abs=2)


def test_ycck_is_ink_too() -> None:
    blocks = gradient().resize((96, 64), Image.Resampling.BICUBIC)
    found = decode(ycck_jpeg(blocks), RULES)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(blocks).astype(int)).mean() < 2
    paper = decode(ycck_jpeg(Image.new("RGB", (16, 16), "white"), ink_profile()), RULES)
    assert paper.getpixel((8, 8)) == pytest.approx((255, 255, 255), abs=2)
    cyan = decode(ycck_jpeg(Image.new("RGB", (16, 16), (0, 255, 255)), ink_profile()), RULES)
    assert cyan.getpixel((8, 8)) == pytest.approx(SHOWN["cyan"], abs=6)


def test_a_profile_for_ink_is_not_applied_to_rgb() -> None:
    expected = decode(file_of(gradient(), "JPEG"), RULES)
    assert decode(file_of(gradient(), "JPEG", icc_profile=ink_profile()), RULES) == expected
