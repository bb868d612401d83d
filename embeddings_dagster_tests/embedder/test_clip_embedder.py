"""What applications rely on: the vectors, what they are of, and what comes where there is none."""

import asyncio
import io
import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster import CLIPEmbedder
from embeddings_dagster.embedder import Failure, Vector
from embeddings_dagster.encoders import encode_image, open_private
from embeddings_dagster.errors import ModelError, ModelUnavailable
from embeddings_dagster.images import DecodeRules, decode
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders import tiny

D = 24


def batch(model: str, sources: list[object], **options: object) -> list[Vector | None]:
    async def run() -> list[Vector | None]:
        async with CLIPEmbedder(model) as embedder:
            return await embedder.generate_embeddings_batch(sources, **options)

    return asyncio.run(run())


def one(model: str, source: object) -> Vector | None:
    async def run() -> Vector | None:
        async with CLIPEmbedder(model) as embedder:
            return await embedder.generate_embedding(source)

    return asyncio.run(run())


def test_a_vector_is_float32_of_norm_1_and_the_one_that_a_run_makes(
    clip: str, clip_settings: ModelSettings, paths: list[Path]
) -> None:
    vector = one(clip, str(paths[0]))
    assert vector.dtype == np.float32
    assert vector.shape == (D,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    encoder = open_private(clip_settings)
    expected = encode_image(encoder, decode(paths[0].read_bytes(), DecodeRules()))
    encoder.close()
    np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_the_same_picture_twice_has_the_same_vector(clip: str, paths: list[Path]) -> None:
    first, second = batch(clip, [paths[0], paths[0]])
    np.testing.assert_allclose(first, second, atol=1e-6)
    np.testing.assert_allclose(first, one(clip, paths[0]), atol=1e-6)


def test_batches_of_1_and_of_10_give_the_same_vectors(clip: str, paths: list[Path]) -> None:
    np.testing.assert_allclose(batch(clip, paths, batch_size=1), batch(clip, paths, batch_size=10), atol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 10])
def test_the_model_never_gets_more_than_a_batch(clip: str, paths: list[Path], size: int, forwards: object) -> None:
    batch(clip, paths, batch_size=size)
    assert sum(forwards.sizes) == len(paths)
    assert max(forwards.sizes) <= size


@pytest.mark.parametrize("side", [1, 10, 2000])
def test_pictures_of_any_size(clip: str, side: int, tmp_path: Path) -> None:
    tiny.picture(1, (side, side)).save(tmp_path / "picture.png")
    assert one(clip, tmp_path / "picture.png").shape == (D,)


def test_a_missing_file_is_an_error_and_an_unreadable_one_has_no_vector(clip: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nno more")
    assert one(clip, broken) is None
    for missing in (tmp_path / "none.png", broken / "below.png"):
        with pytest.raises(FileNotFoundError, match=missing.name):
            one(clip, missing)


def test_what_fails_in_a_batch_moves_and_costs_no_other(clip: str, paths: list[Path], tmp_path: Path) -> None:
    reasons: list[Failure] = []
    sources = [paths[0], tmp_path / "none.png", paths[1], b"junk", 5, paths[2], tmp_path, "a\0b", paths[3]]
    vectors = batch(clip, sources, on_failure=reasons.append)
    assert [vector is not None for vector in vectors] == [True, False, True, False, False, True, False, False, True]
    np.testing.assert_allclose([each for each in vectors if each is not None], batch(clip, paths[:4]), atol=1e-6)
    assert [(each.source, type(each.error).__name__) for each in reasons] == [
        (tmp_path / "none.png", "FileNotFoundError"),
        (b"junk", "FormatNotAllowed"),
        (5, "TypeError"),
        (tmp_path, "ReadFailed"),
        ("a\0b", "ReadFailed"),
    ]


def test_a_reason_that_nobody_asks_for_is_logged(clip: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "embeddings_dagster.embedder"):
        assert batch(clip, [b""]) == [None]
    assert "no vector of picture of 0 bytes: FormatNotAllowed" in caplog.text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Terminal, True), (io.StringIO, False)])
def test_progress_is_shown_on_a_terminal_only(
    clip: str, paths: list[Path], stream: type[io.StringIO], shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", screen := stream())
    batch(clip, paths, show_progress=True)
    assert ("100%" in screen.getvalue()) == shown
    monkeypatch.setattr(sys, "stderr", quiet := Terminal())
    batch(clip, paths, show_progress=False)
    assert quiet.getvalue() == ""


def test_no_pictures_no_vectors_and_no_model(tmp_path: Path) -> None:
    assert batch(str(tmp_path / "no model"), []) == []


def test_one_path_is_not_taken_for_a_list(clip: str) -> None:
    for single in ("a.png", Path("a.png"), b"ab"):
        with pytest.raises(TypeError, match="a list of pictures is wanted"):
            batch(clip, single)
    with pytest.raises(ValueError, match="less than 1"):
        batch(clip, [], batch_size=0)


def test_texts(clip: str) -> None:
    with CLIPEmbedder(clip) as embedder:
        heart = embedder.encode_text("red heart")
        several = embedder.encode_text(["red heart", "", "dog " * 500, "\0 \ud800 ❤️ <eos> %s\n"])
        assert (heart.shape, several.shape, embedder.encode_text([]).shape) == ((D,), (4, D), (0, D))
        np.testing.assert_allclose(np.linalg.norm(several, axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(several[0], heart, atol=1e-6)
        np.testing.assert_allclose(asyncio.run(embedder.embed_text("red heart")), heart, atol=1e-6)
        assert embedder.compute_similarity(heart, heart) == pytest.approx(1, abs=1e-6)
        assert embedder.compute_similarity(heart, several[1]) < 1
        with pytest.raises(TypeError, match="5 is not a text"):
            embedder.encode_text(["a", 5])


def test_the_dimension_is_known_before_the_model_is_loaded(clip: str, forwards: object) -> None:
    with CLIPEmbedder(clip) as embedder:
        assert embedder.get_embedding_dimension() == D
        asyncio.run(embedder.load())
        assert embedder.get_embedding_dimension() == D


@pytest.mark.parametrize(("name", "length"), [("bundled:clip", 128), ("bundled:dino", 192)])
def test_bundled_models_by_name(name: str, length: int, paths: list[Path]) -> None:
    assert one(name, paths[0]).shape == (length,)


def test_closing_one_of_two_leaves_the_other_be(clip: str, paths: list[Path]) -> None:
    async def run() -> None:
        first, second = CLIPEmbedder(clip), CLIPEmbedder(clip)
        before = await first.generate_embedding(paths[0])
        await second.generate_embedding(paths[0])
        await second.aclose()
        second.close()
        np.testing.assert_allclose(await first.generate_embedding(paths[0]), before, atol=1e-6)
        first.close()
        for use in (second.generate_embedding(paths[0]), second.embed_text("a"), second.load()):
            with pytest.raises(ModelError, match="has been closed"):
                await use
        for use in (second.get_embedding_dimension, lambda: second.encode_text("a")):
            with pytest.raises(ModelError, match="has been closed"):
                use()

    asyncio.run(run())


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps"])
def test_without_such_a_device_the_cpu_is_used_with_a_warning(clip: str, paths: list[Path], device: str) -> None:
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has one")

    async def run() -> Vector | None:
        async with CLIPEmbedder(clip, device) as embedder:
            return await embedder.generate_embedding(paths[0])

    with pytest.warns(RuntimeWarning, match=f"{device}' is not there.* The CPU is used instead"):
        assert asyncio.run(run()).shape == (D,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "int8 is calibrated on a project's own pictures.* Set `precision` to bf16"),
        ({"precision": "double"}, "precision"),
        ({"device": "gpu"}, "device"),
        ({"batch_size": 0}, "batch_size"),
        ({"threads": 0}, "threads"),
        ({"model_name": ""}, "model"),
    ],
)
def test_options_that_cannot_be_used_are_refused_at_once(options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        CLIPEmbedder(**options)


def test_a_model_that_cannot_be_loaded_fails_every_call_and_each_tries_anew(tmp_path: Path, paths: list[Path]) -> None:
    async def run() -> None:
        async with CLIPEmbedder(str(tmp_path / "later")) as embedder:
            with pytest.raises(ModelUnavailable, match="does not exist"):
                await embedder.generate_embeddings_batch(paths)
            found = await asyncio.gather(*map(embedder.generate_embedding, paths), return_exceptions=True)
            assert {type(each) for each in found} == {ModelUnavailable}
            tiny.save_clip(tmp_path / "later")
            assert np.stack(await embedder.generate_embeddings_batch(paths)).shape == (12, 24)

    asyncio.run(run())
