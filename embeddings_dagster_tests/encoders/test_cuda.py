"""The backend of an NVIDIA GPU. What needs one is skipped without; how lanes work is tested without, in test_lanes."""

import copy
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from embeddings_dagster.encoders import cuda, lanes
from embeddings_dagster.encoders.class_token import class_token_only
from embeddings_dagster.encoders.cuda import STREAMS, CudaBackend, exact_float32
from embeddings_dagster.encoders.features import image_features
from embeddings_dagster.encoders.torch_backend import TYPES, open_backend
from embeddings_dagster.encoders.work import is_out_of_memory
from embeddings_dagster.errors import ModelError
from embeddings_dagster_tests.encoders import tiny
from embeddings_dagster_tests.encoders.host_queue import HostQueue
from embeddings_dagster_tests.encoders.test_torch_backend import TABLE, levels, network

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")


def opened(made: Any, precision: str = "fp32", streams: int | None = None) -> CudaBackend:
    class_token_only(made)
    backend = open_backend(
        made, image_features(made), device="cuda:0", precision=precision, table=TABLE, streams=streams
    )
    assert isinstance(backend, CudaBackend)
    return backend


def on_the_cpu(pixels: np.ndarray) -> np.ndarray:
    made = network()
    backend = open_backend(made, image_features(made), device="cpu", precision="fp32", table=TABLE, streams=1)
    return backend.features(pixels)


@pytest.fixture
def _no_recording_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_FAILED", [])


def test_float32_is_computed_in_full() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        exact_float32()
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (False, False)
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(("precision", "streams"), [("fp32", None), ("bf16", 2)])
def test_without_a_gpu_its_lanes_compute_what_the_processor_does(
    monkeypatch: pytest.MonkeyPatch, precision: str, streams: int | None
) -> None:
    queues: list[HostQueue] = []
    monkeypatch.setattr(cuda, "CudaQueue", lambda device: queues.append(HostQueue()) or queues[-1])
    made, dtype = network(), TYPES[precision]
    backend = CudaBackend(
        made, image_features(made), device="cpu", dtype=dtype, precision=precision, table=TABLE, streams=streams
    )
    assert len(queues) == backend.streams == (streams or STREAMS)
    batches = [levels(8 if seed % 3 else 5, seed) for seed in range(40)]
    with ThreadPoolExecutor(backend.streams + 1, initializer=backend.begin_stream) as pool:
        found = np.concatenate(list(pool.map(backend.features, batches)))
    assert (tiny.cosines(found, on_the_cpu(np.concatenate(batches))) > 0.999).all()
    assert sum(queue.replayed for queue in queues) > 0
    backend.close()
    with pytest.raises(ModelError, match="has been closed"):
        backend.features(levels(1))


@needs_gpu
@pytest.mark.usefixtures("_no_recording_failed")
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999999), ("bf16", 0.999), ("fp16", 0.9999)])
def test_features_are_those_of_the_cpu_also_when_runs_are_recorded(
    precision: str, least: float, caplog: pytest.LogCaptureFixture
) -> None:
    backend = opened(network(), precision)
    assert (backend.device, backend.precision, backend.streams) == ("cuda:0", precision, STREAMS)
    with caplog.at_level(logging.WARNING, logger=lanes.__name__):
        for seed in range(lanes.WARM_UP + 3):
            for count in (8, 3):
                found = backend.features(levels(count, seed))
                assert found.dtype == np.float32
                assert (tiny.cosines(found, on_the_cpu(levels(count, seed))) > least).all()
    assert not caplog.records


@needs_gpu
def test_threads_get_their_own_features() -> None:
    backend = opened(network(), "bf16")
    batches = [levels(8 if seed % 3 else 5, seed) for seed in range(60)]
    expected = on_the_cpu(np.concatenate(batches))
    with ThreadPoolExecutor(backend.streams + 2, initializer=backend.begin_stream) as pool:
        found = np.concatenate(list(pool.map(backend.features, batches)))
    assert (tiny.cosines(found, expected) > 0.999).all()


@needs_gpu
def test_memory_that_does_not_suffice_is_told_and_the_next_batch_goes_through() -> None:
    made = network()
    compute = image_features(made)

    def hungry(pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 4:
            pixels.new_empty(2**46)
        found: torch.Tensor = compute(pixels)
        return found

    backend = open_backend(made, hungry, device="cuda:0", precision="fp32", table=TABLE, streams=1)
    with pytest.raises(torch.OutOfMemoryError) as raised:
        backend.features(levels(8))
    assert is_out_of_memory(raised.value)
    assert (tiny.cosines(backend.features(levels(4)), on_the_cpu(levels(4))) > 0.9999).all()


@needs_gpu
@pytest.mark.usefixtures("_no_recording_failed")
def test_what_cannot_be_recorded_is_issued_step_by_step(caplog: pytest.LogCaptureFixture) -> None:
    made = network()
    compute = image_features(made)

    def waits(pixels: torch.Tensor) -> torch.Tensor:
        assert pixels.sum().isfinite().item()
        found: torch.Tensor = compute(pixels)
        return found

    backend = open_backend(made, waits, device="cuda:0", precision="fp32", table=TABLE, streams=1)
    with caplog.at_level(logging.WARNING, logger=lanes.__name__):
        for seed in range(lanes.WARM_UP + 2):
            found = backend.features(levels(4, seed))
            assert (tiny.cosines(found, on_the_cpu(levels(4, seed))) > 0.9999).all()
    assert ["no CUDA graph" in record.getMessage() for record in caplog.records] == [True]


@needs_gpu
def test_a_closed_backend_says_so_and_frees_its_memory() -> None:
    made = copy.deepcopy(network())
    backend = opened(made)
    backend.features(levels(2))
    backend.close()
    with pytest.raises(ModelError, match="has been closed"):
        backend.features(levels(1))
