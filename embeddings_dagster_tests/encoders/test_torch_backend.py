"""A network computed by torch on a CPU: its own features, in each precision, from several threads at once."""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from embeddings_dagster.encoders import torch_threads
from embeddings_dagster.encoders.features import image_features
from embeddings_dagster.encoders.preprocess import apply_table
from embeddings_dagster.encoders.torch_backend import TorchBackend, open_backend
from embeddings_dagster.encoders.work import is_out_of_memory
from embeddings_dagster.errors import ModelError
from embeddings_dagster_tests.encoders import tiny

TABLE = np.random.default_rng(0).normal(size=(3, 256)).astype(np.float32)


def network(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    made = transformers.CLIPModel(tiny.clip_config()).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return made


def opened(made: Any, precision: str = "fp32", streams: int | None = 1, table: Any = TABLE) -> TorchBackend:
    backend = open_backend(made, image_features(made), device="cpu", precision=precision, table=table, streams=streams)
    assert isinstance(backend, TorchBackend)
    return backend


def levels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, tiny.SIZE, tiny.SIZE, 3), dtype=np.uint8)


def asked(made: Any, pixels: np.ndarray) -> np.ndarray:
    """What the network says of it without us."""
    with torch.inference_mode():
        return made.get_image_features(pixel_values=torch.from_numpy(pixels)).pooler_output.numpy()


def test_levels_and_floats_come_to_the_networks_own_features_bit_for_bit() -> None:
    made = network()
    backend, brightness = opened(made), apply_table(levels(3), TABLE)
    expected = asked(made, brightness)
    for pixels in (levels(3), brightness):
        found = backend.features(pixels)
        np.testing.assert_array_equal(found, expected)
        assert (found.dtype, found.shape) == (np.float32, (3, 24))


def test_pixels_that_may_not_be_written_to_are_read_without_a_word() -> None:
    made = network()
    backend = opened(made)
    for pixels in (levels(2), apply_table(levels(2), TABLE)):
        pixels.flags.writeable = False
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(backend.features(pixels), backend.features(pixels.copy()))


def test_a_model_without_a_table_takes_floats() -> None:
    made = network()
    pixels = apply_table(levels(2), TABLE)
    np.testing.assert_array_equal(opened(made, table=None).features(pixels), asked(made, pixels))


def test_bf16_is_close_to_float32_and_given_as_float32() -> None:
    expected = opened(network()).features(levels(4))
    backend = opened(network(), "bf16")
    found = backend.features(levels(4))
    assert (backend.precision, found.dtype) == ("bf16", np.float32)
    assert (tiny.cosines(found, expected) > 0.999).all()
    assert not np.array_equal(found, expected)


def test_fp16_is_computed_where_torch_can() -> None:
    try:
        found = opened(network(), "fp16").features(levels(4))
    except ModelError as error:
        if "in fp16 on cpu" not in str(error):
            raise
        pytest.skip(f"torch {torch.__version__} cannot on this processor")
    assert (tiny.cosines(found, opened(network()).features(levels(4))) > 0.999).all()


def test_an_operation_that_torch_lacks_in_fp16_is_named_with_the_remedy() -> None:
    def without_half(pixels: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("\"slow_conv2d_cpu\" not implemented for 'Half'")

    made = network()
    backend = TorchBackend(made, without_half, device="cpu", precision="fp16", table=TABLE, streams=1)
    with pytest.raises(ModelError, match=r"in fp16 on cpu \(.*'Half'\); set `precision` to bf16 or fp32"):
        backend.features(levels(1))


def test_memory_that_does_not_suffice_is_told_as_torch_tells_it() -> None:
    backend = TorchBackend(
        network(),
        lambda pixels: pixels.new_empty(2**50),
        device="cpu",
        precision="fp32",
        table=TABLE,
        streams=1,
    )
    with pytest.raises(RuntimeError, match=r"not enough memory|can't allocate memory") as raised:
        backend.features(levels(1))
    assert is_out_of_memory(raised.value)


def test_a_closed_backend_says_so() -> None:
    backend = opened(network())
    backend.close()
    with pytest.raises(ModelError, match="has been closed"):
        backend.features(levels(1))


def test_threads_side_by_side_get_what_each_would_get_alone() -> None:
    backend = opened(network(), streams=4)
    batches = [levels(1 + seed % 4, seed) for seed in range(24)]
    alone = [backend.features(pixels) for pixels in batches]
    with ThreadPoolExecutor(4, initializer=backend.begin_stream) as pool:
        for found, expected in zip(pool.map(backend.features, batches), alone, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.fixture
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch_threads, "usable_cores", lambda: 4)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def threads_of_a_stream(backend: TorchBackend) -> int:
    with ThreadPoolExecutor(1, initializer=backend.begin_stream) as pool:
        return pool.submit(torch.get_num_threads).result()


@pytest.mark.usefixtures("_four_cores")
@pytest.mark.parametrize(
    ("said", "streams", "threads"), [(None, 4, 1), (1, 1, 4), (2, 2, 2), (3, 3, 1), (4, 4, 1), (9, 9, 1)]
)
def test_streams_share_the_cores(said: int | None, streams: int, threads: int) -> None:
    backend = opened(network(), streams=said)
    assert (backend.streams, threads_of_a_stream(backend)) == (streams, threads)
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("_four_cores")
def test_no_more_streams_than_threads_torch_was_given() -> None:
    torch.set_num_threads(1)
    assert opened(network(), streams=None).streams == 1


@pytest.mark.usefixtures("_four_cores")
def test_where_all_threads_share_one_number_there_is_one_stream_that_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told = torch.__config__.parallel_info().replace("backend: OpenMP", "backend: native thread pool")
    monkeypatch.setattr(torch.__config__, "parallel_info", lambda: told)
    backend = opened(network(), streams=None)
    assert (backend.streams, threads_of_a_stream(backend)) == (1, 4)
