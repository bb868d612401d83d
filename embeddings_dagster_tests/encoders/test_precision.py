"""Which precision the settings come to, and what cannot be."""

import logging

import pytest

from embeddings_dagster.encoders import precision
from embeddings_dagster.encoders.precision import has_fast_bf16, multiplies_bf16, resolve
from embeddings_dagster.errors import ModelError

X86 = {"architecture": "x86_64", "avx2": True, "avx512_f": True, "avx512_vnni": True}
ARM = {"architecture": "aarch64", "neon": True, "fp16_arith": True}


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({**X86, "avx512_bf16": True}, True),
        ({**X86, "amx_bf16": True}, True),
        ({**X86, "avx512_bf16": False, "amx_bf16": False}, False),
        (X86, False),
        ({**ARM, "bf16": True}, True),
        ({**ARM, "sve_bf16": True}, True),
        ({**ARM, "bf16": False}, False),
        ({}, False),
    ],
)
def test_a_cpu_multiplies_bf16_if_it_has_an_instruction_for_it(capabilities: dict[str, object], expected: bool) -> None:
    assert multiplies_bf16(capabilities, onednn=True) is expected


def test_a_torch_without_onednn_does_not_use_the_instructions() -> None:
    assert not multiplies_bf16({**X86, "avx512_bf16": True}, onednn=False)


def test_the_names_of_the_instructions_are_those_torch_has() -> None:
    import torch

    known = torch.cpu.get_capabilities()
    wanted = {"avx512_bf16", "amx_bf16"} if known["architecture"] == "x86_64" else {"bf16"}
    assert wanted <= known.keys()


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_auto_is_bf16_where_that_is_fast_and_float32_elsewhere(backend: str) -> None:
    assert resolve("auto", "cpu", backend) == ("bf16" if has_fast_bf16("cpu") else "fp32")


@pytest.mark.parametrize(
    ("said", "backend"),
    [("fp32", "torch"), ("fp32", "openvino"), ("bf16", "torch"), ("bf16", "openvino"), ("fp16", "torch")],
)
def test_what_is_asked_for_is_what_is_computed(said: str, backend: str) -> None:
    assert resolve(said, "cpu", backend) == said


def test_int8_is_openvinos() -> None:
    assert resolve("int8", "cpu", "openvino") == "int8"
    with pytest.raises(ModelError, match="set `backend` to openvino"):
        resolve("int8", "cpu", "torch")


def test_fp16_is_torchs() -> None:
    with pytest.raises(ModelError, match="set `backend` to torch"):
        resolve("fp16", "cpu", "openvino")


def test_another_word_is_refused() -> None:
    with pytest.raises(ModelError, match="'fp8' is no precision"):
        resolve("fp8", "cpu", "torch")


def test_bf16_on_a_cpu_that_imitates_it_is_computed_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: X86)
    with caplog.at_level(logging.WARNING, logger=precision.__name__):
        assert resolve("bf16", "cpu", "torch") == "bf16"
        assert resolve("auto", "cpu", "torch") == "fp32"
    assert [record.getMessage() for record in caplog.records] == [
        "this CPU has no instructions for bf16 (AVX512-BF16, AMX): it is imitated, more slowly than fp32 is computed; "
        "set `precision` to fp32 or auto, whose vectors go together with those of bf16"
    ]


class _Old:
    """A GPU of 2018, as torch describes it."""

    major, minor = 7, 5


class _New:
    major, minor = 9, 0


def test_a_gpu_without_bf16_refuses_it_and_auto_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: _Old)
    monkeypatch.setattr(torch.version, "hip", None)
    assert resolve("auto", "cuda:0", "torch") == "fp32"
    assert resolve("fp16", "cuda:0", "torch") == "fp16"
    with pytest.raises(
        ModelError, match="'cuda:0' cannot compute in bf16; set `precision` to fp16 or fp32, or to auto"
    ):
        resolve("bf16", "cuda:0", "torch")


@pytest.mark.parametrize("said", ["auto", "bf16"])
def test_a_gpu_with_bf16_uses_it(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: _New)
    assert resolve(said, "cuda:1", "torch") == "bf16"


@pytest.mark.parametrize(("has", "expected"), [(True, "bf16"), (False, "fp32")])
def test_metal_has_bf16_since_macos_14(monkeypatch: pytest.MonkeyPatch, has: bool, expected: str) -> None:
    import torch

    asked = []
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda *version: asked.append(version) or has)
    assert resolve("auto", "mps", "torch") == expected
    assert asked == [(14, 0)]
