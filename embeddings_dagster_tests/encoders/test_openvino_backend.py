"""OpenVINO beside torch: the same features, in the precision that was asked for, from any number of threads."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings_dagster.encoders import identify, load
from embeddings_dagster.encoders.base import Prepared
from embeddings_dagster.encoders.files import locate
from embeddings_dagster.encoders.kept_model import is_whole
from embeddings_dagster.encoders.loading import load_network
from embeddings_dagster.encoders.openvino_backend import has_bf16
from embeddings_dagster.encoders.openvino_model import as_input
from embeddings_dagster.encoders.preprocess import Preprocessor
from embeddings_dagster.errors import MissingExtra, ModelError
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders import tiny, tiny_kin
from embeddings_dagster_tests.encoders.openvino_tools import by_torch, open_backend, prepared

Save = Callable[[Path], ModelSettings]

MODELS: dict[str, Save] = {
    "clip": tiny.save_clip,
    "dino": tiny.save_dino,
    "dino of another size": lambda folder: tiny.save_dino(folder, size=48),
    "siglip": tiny_kin.save_siglip,
    "registers": lambda folder: tiny_kin.save_dino_kin(folder, "dinov2_with_registers"),
}


def never() -> Any:
    raise AssertionError("the cache was not used")


@pytest.mark.parametrize("kind", MODELS)
def test_float32_is_that_of_torch_whatever_the_size_of_the_batch(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind](tmp_path / "model")
    pixels = prepared(model)
    exact = by_torch(model, pixels)
    backend = open_backend(model)
    assert (backend.precision, backend.device) == ("fp32", "cpu")
    for count in (1, 3, 5):
        found = backend.features(pixels[:count])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, exact[:count], rtol=1e-3, atol=1e-4)
        assert tiny.cosines(found, exact[:count]).min() > 1 - 1e-6


def test_an_encoder_on_openvino_answers_as_one_on_torch(tiny_clip: ModelSettings, tmp_path: Path) -> None:
    on_torch = load(tiny_clip)
    on_openvino = load(tiny_clip.model_copy(update={"backend": "openvino"}), cache=tmp_path)
    unit = tiny.unit("a", boxes=(None, None))
    pixels = on_torch.prepare(tiny.picture(1), unit)
    vectors = [each.encode([Prepared(unit, pixels)], 1) for each in (on_torch, on_openvino)]
    assert tiny.cosines(*vectors).min() > 1 - 1e-6
    texts = [each.encode_text(["a red heart"]) for each in (on_torch, on_openvino)]
    np.testing.assert_array_equal(*texts)
    assert on_openvino.gate is None
    assert identify(tiny_clip) == identify(tiny_clip.model_copy(update={"backend": "openvino"}))


def test_bfloat16_is_close_and_is_not_float32(tiny_clip: ModelSettings) -> None:
    pixels = prepared(tiny_clip)
    exact = by_torch(tiny_clip, pixels)
    backend = open_backend(tiny_clip, precision="bf16")
    cosines = tiny.cosines(backend.features(pixels), exact)
    assert cosines.min() > 0.999
    if has_bf16():
        assert backend.precision == "bf16"
        assert cosines.min() < 1 - 1e-6
    else:
        assert backend.precision == "fp32"


def test_pixels_of_eight_bits_are_looked_up_in_the_table(tiny_clip: ModelSettings) -> None:
    pixels = prepared(tiny_clip)
    assert pixels.dtype == np.uint8
    backend = open_backend(tiny_clip)
    floats = as_input(pixels, Preprocessor(locate(tiny_clip).folder).table)
    np.testing.assert_array_equal(backend.features(pixels), backend.features(floats))


def test_threads_side_by_side_get_what_one_gets_alone(tiny_clip: ModelSettings) -> None:
    backend = open_backend(tiny_clip, streams=3)
    assert backend.streams == 3
    batches = [prepared(tiny_clip, count) for count in (1, 4, 2, 5, 3)] * 6
    alone = [backend.features(batch) for batch in batches]
    with ThreadPoolExecutor(4, initializer=backend.begin_stream) as pool:
        together = list(pool.map(backend.features, batches))
    for mine, theirs in zip(together, alone, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_features_stay_when_others_are_computed_after_them(tiny_clip: ModelSettings) -> None:
    backend = open_backend(tiny_clip)
    pixels = prepared(tiny_clip, 2)
    first = backend.features(pixels[:1])
    kept = first.copy()
    backend.features(pixels[1:])
    np.testing.assert_array_equal(first, kept)


def test_streams_are_as_many_as_torch_may_use_threads(tiny_clip: ModelSettings) -> None:
    assert open_backend(tiny_clip).streams == 1  # as the tests have set it


def test_a_closed_backend_says_so(tiny_clip: ModelSettings) -> None:
    backend = open_backend(tiny_clip)
    backend.close()
    with pytest.raises(ModelError, match="has been closed; load it again"):
        backend.features(prepared(tiny_clip, 1))


class TestCache:
    def test_a_second_process_needs_no_network(self, tiny_dino: ModelSettings, tmp_path: Path) -> None:
        pixels = prepared(tiny_dino)
        first = open_backend(tiny_dino, tmp_path).features(pixels)
        second = open_backend(tiny_dino, tmp_path, network=never).features(pixels)
        np.testing.assert_array_equal(first, second)
        open_backend(tiny_dino, tmp_path, network=never, precision="bf16")

    @pytest.mark.parametrize(
        ("file", "damage"),
        [("model.bin", "flip"), ("model.xml", "cut"), ("model.bin", "gone"), ("contents.json", "flip")],
    )
    def test_what_is_damaged_is_made_anew(
        self, tiny_dino: ModelSettings, tmp_path: Path, file: str, damage: str
    ) -> None:
        open_backend(tiny_dino, tmp_path)
        (folder,) = (tmp_path / "openvino").iterdir()
        data = (folder / file).read_bytes()
        (folder / file).unlink()
        if damage == "flip":
            (folder / file).write_bytes(bytes([data[0] ^ 1]) + data[1:])
        elif damage == "cut":
            (folder / file).write_bytes(data[: len(data) // 2])
        assert not is_whole(folder)
        pixels = prepared(tiny_dino)
        found = open_backend(tiny_dino, tmp_path).features(pixels)
        assert tiny.cosines(found, by_torch(tiny_dino, pixels)).min() > 1 - 1e-6
        assert is_whole(folder)
        assert [each.name for each in (tmp_path / "openvino").iterdir()] == [folder.name]

    def test_other_weights_are_another_model(self, tmp_path: Path) -> None:
        for seed in (0, 1):
            open_backend(tiny.save_dino(tmp_path / str(seed), seed=seed), tmp_path / "cache")
        assert len(list((tmp_path / "cache" / "openvino").iterdir())) == 2

    def test_a_network_that_cannot_be_read_leaves_nothing_behind(
        self, tiny_dino: ModelSettings, tmp_path: Path
    ) -> None:
        def broken() -> Any:
            raise ModelError("its weights are not all there")

        with pytest.raises(ModelError, match="not all there"):
            open_backend(tiny_dino, tmp_path, network=broken)
        assert not list((tmp_path / "openvino").iterdir())


@pytest.mark.parametrize("cached", [True, False])
def test_the_network_is_freed_once_it_is_converted(tiny_clip: ModelSettings, tmp_path: Path, cached: bool) -> None:
    network = load_network(tiny_clip, locate(tiny_clip))
    alive = weakref.ref(network)
    held = [network]
    del network
    backend = open_backend(tiny_clip, tmp_path if cached else None, network=held.pop)
    gc.collect()
    assert alive() is None
    pixels = prepared(tiny_clip)
    assert tiny.cosines(backend.features(pixels), by_torch(tiny_clip, pixels)).min() > 1 - 1e-6


@pytest.mark.parametrize("package", ["openvino", "nncf"])
def test_without_the_extra_it_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from embeddings_dagster.encoders import openvino_runtime

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"precision int8 needs the package '{package}'.*dagster\[openvino\]"):
        getattr(openvino_runtime, package)("precision int8")


SPY = """
import sys
calls = []
WATCHED = {"socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.fork", "os.posix_spawn"}
sys.addaudithook(lambda event, arguments: calls.append((event, arguments)) if event in WATCHED else None)
"""

CONVERTS = """
from pathlib import Path
import numpy as np
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders.openvino_tools import open_backend, prepared
from embeddings_dagster.encoders import int8, openvino_model
model = ModelSettings(kind="clip", model=sys.argv[1])
open_backend(model, Path(sys.argv[2])).features(prepared(model, 2))
(folder,) = (Path(sys.argv[2]) / "openvino").iterdir()
from embeddings_dagster.encoders.openvino_runtime import openvino
import torch; torch.set_num_threads(1)
source = openvino("a test").Core().read_model(folder / "model.xml")
target = Path(sys.argv[2]) / "int8"; target.mkdir()
pixels = [np.random.default_rng(n).standard_normal((1, 3, 32, 32), dtype=np.float32) for n in range(4)]
int8.quantise(source, pixels, target, count=4)
calls = [each for each in calls if "ldconfig" not in str(each) and "lscpu" not in str(each)]
assert not calls, calls
import logging; assert logging.getLoggerClass() is logging.Logger
"""


def test_nothing_is_reported_to_anyone_nothing_printed_and_nothing_written_at_home(
    tiny_clip: ModelSettings, tmp_path: Path
) -> None:
    """Neither by importing, nor by converting, nor by quantising. In a process of its own: NNCF reports to nobody where
    pytest is loaded."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SPY + CONVERTS, tiny_clip.model, str(tmp_path / "cache")],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not [path for path in home.rglob("*") if path.is_file() and "intel" in str(path).lower()]
