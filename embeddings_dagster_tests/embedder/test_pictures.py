"""Whatever a picture comes as, it is the same picture; and nothing that is given costs more than itself."""

import asyncio
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embeddings_dagster import CLIPEmbedder
from embeddings_dagster.embedder import Box, DecodeRules, Failure, Vector
from embeddings_dagster_tests.encoders import tiny


def vectors(clip: str, sources: Sequence[object], rules: DecodeRules | None = None, **options: object) -> list:
    async def run() -> list[Vector | None]:
        async with CLIPEmbedder(clip, rules=rules) as embedder:
            return await embedder.generate_embeddings_batch(sources, **options)

    return asyncio.run(run())


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_paths_bytes_images_and_arrays_are_the_same_picture(clip: str, paths: list[Path]) -> None:
    data = paths[0].read_bytes()
    array = np.asarray(tiny.picture(0))
    lazy = Image.open(paths[0])
    sources = [str(paths[0]), paths[0], data, bytearray(data), memoryview(data), lazy, lazy, array, array[::-1][::-1]]
    first, *others = vectors(clip, sources)
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-6)


def test_grey_and_transparent_pictures_as_images_and_arrays(clip: str) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    grey = colours[..., 0]
    pairs = [(grey, saved(Image.fromarray(grey), "PNG")), (colours, saved(Image.fromarray(colours), "PNG"))]
    for array, file in pairs:
        by_array, by_image, by_file = vectors(clip, [array, Image.fromarray(array), file])
        np.testing.assert_allclose(by_array, by_file, atol=1e-6)
        np.testing.assert_allclose(by_image, by_file, atol=1e-6)


def test_orientation_and_profile_of_an_image_are_applied(clip: str) -> None:
    exif = Image.Exif()
    exif[274] = 6
    file = saved(tiny.picture(3), "JPEG", exif=exif)
    by_image, by_file, upright = vectors(clip, [Image.open(BytesIO(file)), file, saved(tiny.picture(3), "JPEG")])
    np.testing.assert_allclose(by_image, by_file, atol=1e-6)
    assert np.abs(by_file - upright).max() > 1e-3


def test_the_background_is_what_shows_through(clip: str) -> None:
    clear = saved(Image.new("RGBA", (20, 20), (0, 0, 0, 0)), "PNG")
    (blue,) = vectors(clip, [Image.new("RGB", (20, 20), (0, 0, 255))])
    (through,) = vectors(clip, [clear], DecodeRules(background=(0, 0, 255)))
    np.testing.assert_allclose(through, blue, atol=1e-6)


def test_risky_formats_are_decoded_elsewhere_to_the_same_pixels(clip: str) -> None:
    image = tiny.picture(4)
    tiff, png = vectors(clip, [saved(image, "TIFF"), saved(image, "PNG")])
    np.testing.assert_allclose(tiff, png, atol=1e-6)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(clip: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    reasons: list[Failure] = []
    assert vectors(clip, [tmp_path / "pipe.png"], on_failure=reasons.append) == [None]
    assert "is not a regular file" in str(reasons[0])


def test_a_link_is_followed_and_one_to_nothing_is_a_missing_file(clip: str, paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(paths[0])
    (tmp_path / "loose").symlink_to(tmp_path / "gone")
    reasons: list[Failure] = []
    found, missing = vectors(clip, [tmp_path / "link", tmp_path / "loose"], on_failure=reasons.append)
    assert found is not None
    assert missing is None
    assert isinstance(reasons[0].error, FileNotFoundError)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"x" * 3000, "TooManyBytes"),
        (Image.new("RGB", (50, 50)), "TooManyPixels"),
        (np.zeros((50, 50, 3), np.uint8), "TooManyPixels"),
        (saved(Image.new("RGB", (50, 50)), "PNG"), "TooManyPixels"),
        (np.zeros((0, 5, 3), np.uint8), "DecodeFailed"),
        (Image.new("RGB", (0, 0)), "DecodeFailed"),
        (Image.new("F", (5, 5)), "float pixels have no agreed range"),
        (np.zeros((5, 5, 3), np.float32), "float32 is not a picture"),
        (np.zeros((5, 5, 2), np.uint8), r"\(5, 5, 2\)"),
        (np.zeros(5, np.uint8), r"\(5,\)"),
        (None, "NoneType is not a picture"),
        (["a", "list"], "list is not a picture"),
    ],
)
def test_what_is_refused_says_why(clip: str, source: object, reason: str, paths: list[Path]) -> None:
    reasons: list[Failure] = []
    rules = DecodeRules(max_bytes=2500, max_pixels=2400)
    bad, good = vectors(clip, [source, tiny.picture(1)], rules, on_failure=reasons.append)
    assert bad is None
    assert good is not None
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(str(reasons[0]))


def test_a_file_is_read_no_further_than_the_cap(clip: str, tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**40)
    reasons: list[Failure] = []
    assert vectors(clip, [tmp_path / "huge.png"], DecodeRules(max_bytes=1000), on_failure=reasons.append) == [None]
    assert "has more than max_bytes = 1,000 bytes" in str(reasons[0])


def test_alone_what_is_no_picture_at_all_is_an_error(clip: str) -> None:
    with CLIPEmbedder(clip) as embedder, pytest.raises(TypeError, match="int is not a picture"):
        asyncio.run(embedder.generate_embedding(5))


def test_boxes_of_a_picture_are_as_its_parts(clip: str) -> None:
    image = tiny.picture(5, (80, 60))
    boxes = [(0, 0, 30, 30), None, Box(50, 20, 100, 100), (80, 0, 10, 10), np.array([5, 5, 20, 20]), None]
    reasons: list[Failure] = []

    async def run() -> list[Vector | None]:
        async with CLIPEmbedder(clip) as embedder:
            return await embedder.generate_region_embeddings(image, boxes, on_failure=reasons.append)

    found = asyncio.run(run())
    parts = [image.crop((0, 0, 30, 30)), image, image.crop((50, 20, 80, 60)), image.crop((5, 5, 25, 25)), image]
    assert found.pop(3) is None
    np.testing.assert_allclose(np.stack(found), vectors(clip, parts), atol=1e-6)
    assert [(each.box, type(each.error).__name__) for each in reasons] == [(Box(80, 0, 10, 10), "EmptyRegion")]
    assert "box (80, 0, 10, 10)" in str(reasons[0])


def test_boxes_that_are_none(clip: str, paths: list[Path]) -> None:
    async def run(boxes: object) -> list[Vector | None]:
        async with CLIPEmbedder(clip) as embedder:
            return await embedder.generate_region_embeddings(paths[0], boxes)

    assert asyncio.run(run([(900, 900, 1, 1)])) == [None]
    with pytest.raises(ValueError, match="there are no boxes"):
        asyncio.run(run([]))
    for box in [(1, 2, 3), (0.5, 0, 1, 1), "abcd", 5]:
        with pytest.raises(TypeError, match="is not a box"):
            asyncio.run(run([box]))
