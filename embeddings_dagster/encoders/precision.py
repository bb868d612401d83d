"""In which precision a model computes: what the settings ask for, or, where they leave it open, what is fast here.

bf16 pays only where the machine multiplies it itself; where it has to be imitated it is slower than float32.
"""

import logging
from collections.abc import Mapping
from typing import Literal

from embeddings_dagster.encoders.runtime import runtime
from embeddings_dagster.errors import ModelError

Computed = Literal["fp32", "bf16", "fp16", "int8"]

_FIRST_BF16 = 8  # major compute capability of the first NVIDIA GPUs that multiply bf16: Ampere
_BF16_MACOS = (14, 0)  # the first whose Metal knows bf16

# Instructions that multiply bf16, by the names torch.cpu.get_capabilities() has for them: AVX512-BF16 and AMX on x86,
# FEAT_BF16 and its SVE form on ARM.
_BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")

_log = logging.getLogger(__name__)


def resolve(precision: str, device: str, backend: str) -> Computed:
    """The precision to compute in for one of the settings: fp32, bf16, fp16, int8 or auto.

    `device` is one that `choose_device` gave, `backend` torch or openvino.

    Raises:
        ModelError: the device, or the backend, cannot compute in it.
    """
    if precision == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    if precision == "fp32":
        return "fp32"
    if precision == "bf16":
        _check_bf16(device)
        return "bf16"
    if precision == "fp16":
        if backend != "torch":
            raise ModelError(f"{backend} computes in fp32, bf16 or int8; for fp16 set `backend` to torch")
        return "fp16"
    if precision == "int8":
        if backend != "openvino":
            raise ModelError(f"{backend} does not compute in int8; set `backend` to openvino")
        return "int8"
    raise ModelError(f"{precision!r} is no precision; set `precision` to fp32, bf16, fp16, int8 or auto")


def has_fast_bf16(device: str) -> bool:
    """Whether the device computes in bf16 by itself, and so faster than in float32."""
    torch = runtime().torch
    if device == "cpu":
        return multiplies_bf16(torch.cpu.get_capabilities(), onednn=torch.backends.mkldnn.is_available())
    if device.startswith("cuda"):
        return bool(torch.version.hip) or torch.cuda.get_device_properties(device).major >= _FIRST_BF16
    return device == "mps" and bool(torch.backends.mps.is_macos_or_newer(*_BF16_MACOS))


def multiplies_bf16(capabilities: Mapping[str, object], *, onednn: bool) -> bool:
    """Whether a CPU with these capabilities does; torch uses the instructions by way of oneDNN alone."""
    return onednn and any(capabilities.get(name) is True for name in _BF16_INSTRUCTIONS)


def _check_bf16(device: str) -> None:
    if has_fast_bf16(device):
        return
    if device != "cpu":
        raise ModelError(f"the device {device!r} cannot compute in bf16; set `precision` to fp16 or fp32, or to auto")
    _log.warning(
        "this CPU has no instructions for bf16 (AVX512-BF16, AMX): it is imitated, more slowly than fp32 is computed; "
        "set `precision` to fp32 or auto, whose vectors go together with those of bf16"
    )
