"""Pictures that need not come in full: a JPEG is decoded at a part of its size, and everything else stays as it is."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from embeddings_dagster.errors import DecodeFailed, TooManyPixels
from embeddings_dagster.images import DecodeRules, Workshop, decode
from embeddings_dagster.images.risk import risk
from embeddings_dagster_tests.images.pictures import RULES, file_of, gradient, linear_profile
from embeddings_dagster_tests.images.workers import processes


@pytest.mark.parametrize(
    ("size", "at_least", "reduced"),
    [
        ((1024, 1024), 448, (512, 512)),
        ((1024, 1024), 512, (512, 512)),
        ((1024, 1024), 513, (1024, 1024)),
        ((1024, 1024), 100, (128, 128)),
        ((1024, 1024), 1, (128, 128)),
        ((1001, 333), 100, (501, 167)),
        ((333, 1001), 160, (167, 501)),
        ((90, 40), 64, (90, 40)),
        ((1024, 1024), 0, (1024, 1024)),
    ],
)
def test_a_jpeg_may_be_reduced_while_its_short_side_is_at_least_that(
    size: tuple[int, int], at_least: int, reduced: tuple[int, int]
) -> None:
    original = gradient().resize(size, Image.Resampling.BICUBIC)
    found = decode(file_of(original, "JPEG", quality=95), RULES, at_least=at_least)
    assert (found.size, found.mode, found.info, type(found)) == (reduced, "RGB", {}, Image.Image)
    wanted = np.asarray(original.resize(reduced, Image.Resampling.BOX)).astype(int)
    assert np.abs(np.asarray(found).astype(int) - wanted).mean() < 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "PPM"])
def test_other_kinds_are_not_reduced(kind: str) -> None:
    data = file_of(gradient(240, 160), kind)
    assert decode(data, RULES, at_least=10).tobytes() == decode(data, RULES).tobytes()


def test_a_reduced_picture_is_upright_and_in_srgb_as_the_whole_one() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    tagged = {"exif": exif.tobytes(), "icc_profile": linear_profile(), "quality": 95}
    original = gradient().resize((240, 160), Image.Resampling.BICUBIC)
    for picture in (original, original.convert("L").convert("CMYK")):
        options = {**tagged, "icc_profile": tagged["icc_profile"] if picture.mode == "RGB" else None}
        data = file_of(picture, "JPEG", **options)
        whole, reduced = decode(data, RULES), decode(data, RULES, at_least=80)
        assert (whole.size, reduced.size) == ((160, 240), (80, 120))
        near = np.asarray(whole.resize(reduced.size, Image.Resampling.BOX)).astype(int)
        assert np.abs(np.asarray(reduced).astype(int) - near).mean() < 3


def test_the_first_picture_of_an_mpo_is_reduced() -> None:
    first, second = Image.new("RGB", (640, 640), (255, 0, 0)), Image.new("RGB", (640, 640), (0, 0, 255))
    found = decode(file_of(first, "MPO", save_all=True, append_images=[second]), RULES, at_least=160)
    assert found.size == (160, 160)
    assert np.asarray(found)[..., 0].min() > 240


def test_caps_and_damage_count_for_the_full_size() -> None:
    data = file_of(gradient().resize((320, 200)), "JPEG")
    with pytest.raises(TooManyPixels, match=r"JPEG: 320 x 200 pixels are more than rgb.max_pixels = 63,999"):
        decode(data, DecodeRules(max_pixels=320 * 200 - 1), at_least=20)
    for cut in (40, len(data) // 2):
        with pytest.raises(DecodeFailed, match="JPEG: image file is truncated"):
            decode(data[:-cut], RULES, at_least=20)


def test_a_process_of_its_own_reduces_a_risky_picture_as_well() -> None:
    data = file_of(gradient().resize((5600, 4480)), "JPEG", quality=95)
    assert risk(data) == "has many pixels"
    with Workshop(RULES) as workshop:
        found = workshop.decode(data, at_least=600)
        assert len(processes()) == 1
        assert found.size == (1400, 1120)
        assert found.tobytes() == decode(data, RULES, at_least=600).tobytes()
        small = file_of(gradient().resize((80, 60)), "JPEG")
        assert workshop.decode(small, at_least=20).size == (40, 30)
