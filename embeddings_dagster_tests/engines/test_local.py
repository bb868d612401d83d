import threading
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.encoders import encode_image, load, unload
from embeddings_dagster.engines import Engine, LocalEngine
from embeddings_dagster.errors import DeviceUnavailable, Stopped
from embeddings_dagster.images.decode import decode
from embeddings_dagster.images.rules import DecodeRules
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders import tiny

MODEL = ModelSettings(kind="clip", model="bundled:clip", batch_size=4)


def png(folder: Path, seed: int) -> bytes:
    path = folder / f"{seed}.png"
    tiny.picture(seed, (475, 475)).save(path)
    return path.read_bytes()


def test_real_files_become_the_vectors_of_their_pictures(tmp_path: Path) -> None:
    engine: Engine = LocalEngine()
    files = [png(tmp_path, seed) for seed in range(9)]
    files[5] = files[5][:200]
    units = [tiny.unit(f"image {n}", data) for n, data in enumerate(files)]
    found = list(engine.encode(MODEL, units, lambda data: decode(data, DecodeRules())))
    assert [type(each.error).__name__ for each in found if each.error] == ["DecodeFailed"]
    assert found[5].error is not None
    for seed, each in enumerate(found):
        if each.vectors is not None:
            alone = encode_image(load(MODEL), tiny.picture(seed, (475, 475)))
            assert np.abs(each.vectors[0] - alone).max() <= 1e-6
    unload()


def test_the_run_decides_on_the_device() -> None:
    elsewhere = MODEL.model_copy(update={"device": "cuda:99"})
    with pytest.raises(DeviceUnavailable, match="'cuda:99' is not there"):
        list(LocalEngine().encode(elsewhere, [], lambda _: tiny.picture(0)))


def test_a_stop_reaches_the_encoder() -> None:
    stop = threading.Event()
    stop.set()
    units = [tiny.unit("image", b"")]
    with pytest.raises(Stopped):
        list(LocalEngine().encode(MODEL, units, lambda _: tiny.picture(0), stop=stop))
