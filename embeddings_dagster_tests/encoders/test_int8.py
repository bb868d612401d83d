"""Quantised models: as close to float32 as the gate asks for when they know the pictures, and said to be missing when
they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embeddings_dagster.encoders import Unit, load
from embeddings_dagster.encoders.base import Prepared
from embeddings_dagster.encoders.int8 import LEAST, calibrate
from embeddings_dagster.encoders.kept_model import is_whole, read_contents
from embeddings_dagster.encoders.openvino_model import calibrated_folder
from embeddings_dagster.errors import DecodeFailed, ModelError, ModelUnavailable, Stopped
from embeddings_dagster.images.regions import Box
from embeddings_dagster.settings_models import TOLERANCE, ModelSettings
from embeddings_dagster_tests.encoders import tiny, tiny_kin
from embeddings_dagster_tests.encoders.openvino_tools import by_torch, prepared

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "emoji"
EMOJI = sorted(SAMPLE.rglob("*.png"))

BUNDLED = [ModelSettings(kind="clip", model="bundled:clip"), ModelSettings(kind="dino", model="bundled:dino")]


def decode(data: bytes, *, at_least: int = 0) -> Image.Image:
    if data == b"bad":
        raise DecodeFailed("no picture")
    if data == b"worse":
        raise SystemError("a library failed")
    return tiny.picture(int(data), (96, 80))


def units(count: int, *others: bytes) -> list[Unit]:
    return [tiny.unit(str(n), data) for n, data in enumerate([*(str(n).encode() for n in range(count)), *others])]


def calibrated(model: ModelSettings, cache: Path, pictures: list[Unit], **options: Any) -> ModelSettings:
    options = {"decode": decode, "note": {}, "check_stop": lambda: None, **options}
    digest = calibrate(model, pictures, cache=cache, **options)
    return model.model_copy(update={"precision": "int8", "calibrated": digest})


def emoji(data: bytes, *, at_least: int = 0) -> Image.Image:
    """A picture of the sample, on white as `rgb_images` has it."""
    picture = Image.open(EMOJI[int(data)]).convert("RGBA")
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
    return white


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.parametrize("model", BUNDLED, ids=lambda model: model.kind)
def test_calibrated_on_pictures_of_their_kind_vectors_pass_the_gate(model: ModelSettings, folder: Path) -> None:
    """Trained models, and every fourth picture of the sample; the ones compared are others."""
    numbers = [str(n) for n in range(0, len(EMOJI), 4)]
    pictures = [tiny.unit(number, number.encode()) for number in numbers]
    encoder = load(calibrated(model, folder, pictures, decode=emoji), cache=folder)
    exact = load(model)
    others = [tiny.unit(str(n), str(n).encode()) for n in range(1, len(EMOJI), 4)]
    images = [Prepared(each, exact.prepare(emoji(each.data), each)) for each in others]
    assert encoder.precision == "int8"
    cosines = tiny.cosines(encoder.encode(images, 16), exact.encode(images, 16))
    assert cosines.min() >= TOLERANCE["int8"]
    assert cosines.min() < 1 - 1e-5  # it is not float32 after all
    gate = encoder.gate
    assert gate is not None
    assert {precision for _, precision in gate.encode(images, 16)} == {"int8"}
    assert gate.settled


KINDS: dict[str, Callable[[Path], ModelSettings]] = {"siglip": tiny_kin.save_siglip, "dino": tiny.save_dino}


@pytest.mark.parametrize("kind", KINDS)
def test_other_vision_towers_are_quantised_too(kind: str, tmp_path: Path, folder: Path) -> None:
    model = KINDS[kind](tmp_path / "model")
    encoder = load(calibrated(model, folder, units(LEAST)), cache=folder)
    pixels = prepared(model, 4)
    images = [Prepared(tiny.unit(str(n)), each[np.newaxis]) for n, each in enumerate(pixels)]
    assert tiny.cosines(encoder.encode(images, 3), by_torch(model, pixels)).min() > 0.98


def test_the_files_tell_what_they_are(tiny_dino: ModelSettings, folder: Path) -> None:
    digest = calibrated(tiny_dino, folder, units(LEAST), note={"calibration": 7}).calibrated
    assert digest is not None
    place = calibrated_folder(folder) / digest
    assert sorted(each.name for each in place.iterdir()) == ["contents.json", "model.bin", "model.xml"]
    assert is_whole(place, digest)
    assert not is_whole(place, "0" * 64)
    contents = read_contents(place)
    assert (contents["calibration"], contents["pictures"]) == (7, LEAST)
    assert str(folder) not in (place / "model.xml").read_text(encoding="utf-8")
    assert [each.name for each in place.parent.iterdir()] == [digest]


def test_pictures_that_cannot_be_read_are_left_out(tiny_dino: ModelSettings, folder: Path) -> None:
    inside, outside = Box(0, 0, 8, 8), Box(500, 500, 8, 8)
    panels = tiny.unit("panels", b"1", boxes=(None, outside, inside))
    pictures = [*units(LEAST - 2, b"bad", b"worse"), panels]
    digest = calibrated(tiny_dino, folder, pictures).calibrated
    assert read_contents(calibrated_folder(folder) / str(digest))["pictures"] == LEAST


def test_too_few_pictures_are_refused(tiny_dino: ModelSettings, folder: Path) -> None:
    with pytest.raises(ModelError, match=r"16 or more pictures.*there are 15.*run again when there are more.*bf16"):
        calibrated(tiny_dino, folder, units(LEAST - 1, b"bad"))
    assert not calibrated_folder(folder).exists()


def test_it_stops_while_it_calibrates(tiny_dino: ModelSettings, folder: Path) -> None:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked > LEAST + 5:  # all are decoded, and NNCF has begun
            raise Stopped("stopped on request")

    with pytest.raises(Stopped):
        calibrated(tiny_dino, folder, units(LEAST), check_stop=check)
    assert not list(calibrated_folder(folder).iterdir())


class TestLoading:
    def test_what_was_not_calibrated_cannot_be_loaded(self, tiny_dino: ModelSettings, folder: Path) -> None:
        with pytest.raises(ModelUnavailable, match="not calibrated yet; a run does it"):
            load(tiny_dino.model_copy(update={"precision": "int8"}), cache=folder)

    def test_what_is_not_here_cannot_be_loaded(self, tiny_dino: ModelSettings, folder: Path) -> None:
        model = tiny_dino.model_copy(update={"precision": "int8", "calibrated": "a" * 64})
        for cache in (folder, None):
            with pytest.raises(ModelUnavailable, match=r"calibrated as aaaaaaaaaaaa is not in the cache.*run again"):
                load(model, cache=cache)

    def test_what_is_damaged_is_not_loaded(self, tiny_dino: ModelSettings, folder: Path) -> None:
        model = calibrated(tiny_dino, folder, units(LEAST))
        weights = calibrated_folder(folder) / str(model.calibrated) / "model.bin"
        data = weights.read_bytes()
        weights.unlink()
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(ModelUnavailable, match="is not in the cache"):
            load(model, cache=folder)
