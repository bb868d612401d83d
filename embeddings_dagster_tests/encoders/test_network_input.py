"""Brightness looked up by torch, where the network is: bit for bit what numpy looks up."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.encoders.network_input import NetworkInput
from embeddings_dagster.encoders.preprocess import apply_table

TABLE = np.random.default_rng(0).normal(size=(3, 256)).astype(np.float32)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]


@pytest.mark.parametrize("device", DEVICES)
@given(seed=st.integers(0, 2**32), shape=st.tuples(*[st.integers(1, 9)] * 3))
def test_levels_become_what_the_table_says(device: str, seed: int, shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = NetworkInput(TABLE, device=device, dtype=torch.float32)(torch.from_numpy(pixels).to(device))
    np.testing.assert_array_equal(found.cpu().numpy(), apply_table(pixels, TABLE))


def test_every_level_of_every_channel_has_its_own_value() -> None:
    levels = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=3)
    found = NetworkInput(TABLE, device="cpu", dtype=torch.float32)(torch.from_numpy(levels))
    np.testing.assert_array_equal(found[0].flatten(1).numpy(), TABLE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_it_is_the_rounded_value(dtype: torch.dtype) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    found = NetworkInput(TABLE, device="cpu", dtype=dtype)(torch.from_numpy(pixels))
    assert torch.equal(found, torch.from_numpy(apply_table(pixels, TABLE)).to(dtype))


def test_floats_go_in_as_they_are() -> None:
    pixels = torch.randn(2, 3, 4, 5)
    assert torch.equal(NetworkInput(TABLE, device="cpu", dtype=torch.float32)(pixels), pixels)
    assert torch.equal(NetworkInput(None, device="cpu", dtype=torch.bfloat16)(pixels), pixels.bfloat16())


def test_levels_without_a_table_are_an_error() -> None:
    with pytest.raises(ValueError, match="without a table"):
        NetworkInput(None, device="cpu", dtype=torch.float32)(torch.zeros(1, 2, 2, 3, dtype=torch.uint8))
