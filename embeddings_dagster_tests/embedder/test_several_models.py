"""One picture, several models: decoded once, and each vector as the model by itself gives it."""

import asyncio
import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster import CLIPEmbedder, Embedder
from embeddings_dagster.embedder import Embedded
from embeddings_dagster.encoders import Region, Unit, encode_units, open_private
from embeddings_dagster.errors import ModelError
from embeddings_dagster.images import DecodeRules, Workshop
from embeddings_dagster.settings import ModelSettings
from embeddings_dagster_tests.encoders import tiny


class Counted(os.PathLike):
    """A path that counts how often it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path, self.reads = path, 0

    def __fspath__(self) -> str:
        self.reads += 1
        return str(self.path)


def test_each_picture_is_decoded_once_and_has_the_vectors_of_each(clip: str, dino: str, paths: list[Path]) -> None:
    async def run() -> tuple[list[Embedded], list[object], list[object]]:
        counted = Counted(paths[3])
        async with Embedder({"words": clip, "looks": ModelSettings(kind="dino", model=dino)}) as both:
            found = await both.embed_batch([*paths, counted], batch_size=5)
        assert counted.reads == 1
        alone = []
        for model in (clip, dino):
            async with CLIPEmbedder(model) as embedder:
                alone.append(await embedder.generate_embeddings_batch([*paths, paths[3]]))
        return found, *alone

    found, words, looks = asyncio.run(run())
    np.testing.assert_allclose([each["words"] for each in found], words, atol=1e-6)
    np.testing.assert_allclose([each["looks"] for each in found], looks, atol=1e-6)
    assert (len(found[0]["words"]), len(found[0]["looks"])) == (24, 32)
    assert [each.source for each in found[:12]] == paths


def test_boxes_for_all_of_them_and_one_reason_for_a_bad_picture(clip: str, dino: str, paths: list[Path]) -> None:
    async def run() -> None:
        async with Embedder({"words": clip, "looks": dino}) as embedder:
            found = await embedder.embed(paths[0], [None, (0, 0, 9, 9), (99, 99, 9, 9)])
            for name, length in (("words", 24), ("looks", 32)):
                page, panel, outside = found.vectors[name]
                assert (page.shape, panel.shape, outside) == ((length,), (length,), None)
            (reason,) = found.failures
            assert (reason.box, reason.model) == ((99, 99, 9, 9), None)
            bad = await embedder.embed(b"junk")
            assert (bad["words"], bad["looks"], len(bad.failures)) == (None, None, 1)
            with pytest.raises(FileNotFoundError):
                await embedder.embed(paths[0].with_name("none.png"))
            (missing,) = await embedder.embed_batch([paths[0].with_name("none.png")])
            assert isinstance(missing.failures[0].error, FileNotFoundError)

    asyncio.run(run())


def test_the_model_that_reads_text_is_asked_and_others_by_name(clip: str, dino: str) -> None:
    with Embedder({"words": clip, "looks": dino}) as embedder:
        np.testing.assert_array_equal(embedder.encode_text("red heart"), embedder.encode_text("red heart", "words"))
        assert embedder.get_embedding_dimension("looks") == 32
        with pytest.raises(ModelError, match="None is none of the models here, which are words, looks; name one"):
            embedder.get_embedding_dimension()
        with pytest.raises(ModelError, match="knows pictures only"):
            embedder.encode_text("red heart", "looks")
        with pytest.raises(ModelError, match="'sounds' is none of the models here"):
            embedder.encode_text("red heart", "sounds")
    with Embedder({"looks": dino}) as embedder, pytest.raises(ModelError, match=r"0 of the models .*take a CLIP"):
        embedder.encode_text("red heart")
    with pytest.raises(ModelError, match="without a model"):
        Embedder({})
    with pytest.raises(ModelError, match="int8 is calibrated"):
        Embedder({"words": ModelSettings(kind="clip", model=clip, precision="int8")})


def test_a_fast_model_gets_its_picture_as_a_run_gives_it(clip: str) -> None:
    file = BytesIO()
    tiny.picture(9, (640, 480)).save(file, "JPEG")
    unit = Unit("photo", file.getvalue(), (Region(0, None, None, ""),))
    fast = ModelSettings(kind="clip", model=clip, preprocessing="fast")
    encoder = open_private(fast)
    with Workshop(DecodeRules()) as workshop:
        (expected,) = encode_units(encoder, [unit], workshop.decode, batch_size=1, threads=1)
    encoder.close()
    with Embedder({"fast": fast}) as embedder:
        found = asyncio.run(embedder.embed(file.getvalue()))
    np.testing.assert_allclose(found["fast"], expected.vectors[0], atol=1e-6)


def test_where_one_cannot_be_loaded_none_stays(clip: str, tmp_path: Path) -> None:
    with Embedder({"words": clip, "looks": str(tmp_path / "none")}) as embedder:
        with pytest.raises(ModelError, match="does not exist"):
            asyncio.run(embedder.load())
        assert embedder._models._encoders is None
