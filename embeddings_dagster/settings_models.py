"""The part of the settings that says which encoders there are: which model, how exactly, how fast."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from embeddings_dagster.settings_sources import Section

Precision = Literal["fp32", "bf16", "fp16", "int8", "auto"]

# By how much vectors of another precision may differ from those of float32: the least cosine that passes.
TOLERANCE = {"bf16": 0.999, "fp16": 0.999, "int8": 0.99}
AUTO = "auto"
DEVICE = r"^(auto|cpu|cuda(:\d+)?|mps)$"
IMPORT_PATH = re.compile(r"[^:]+(:\\[^:]+)?:[A-Za-z_][\w.]*")
TEXT_SUFFIX = "_text"  # of the name of a model's texts, beside that of its pictures


def _model_name(name: str) -> str:
    if not (name.isidentifier() and name.islower() and name.isascii()) or "__" in name:
        raise ValueError("a model's name becomes the name of assets: a-z, 0-9 and single '_', starting with a letter")
    return name


def _batch_size(said: int | str) -> int | str:
    if said == AUTO:
        return said
    size = int(said) if isinstance(said, str) and said.isdecimal() else said
    if isinstance(size, str) or not 1 <= size <= 4096:
        raise ValueError(f"{said!r} is neither a number from 1 to 4096 nor {AUTO}")
    return size


def _import_path(written: str) -> str:
    if not IMPORT_PATH.fullmatch(written):
        raise ValueError(f"{written!r} names no object of a module or file: package.module:Name, or ./file.py:Name")
    return written


ModelName = Annotated[str, AfterValidator(_model_name)]
BatchSize = Annotated[int | str, AfterValidator(_batch_size)]
ImportPath = Annotated[str, AfterValidator(_import_path)]


class NetworkSettings(Section):
    """One's own network: the class, and what it is given. See docs/models.md for what it is called with.

    `architecture` and `preprocess` are import paths (`package.module:Name`) or files (`./encoder.py:Name`). With
    `regions: together` the network sees an image with all its panels at once, so that their vectors may depend on each
    other.
    """

    architecture: ImportPath
    arguments: dict[str, object] = Field(default_factory=dict)
    dimension: int = Field(ge=1, le=65536, description="length of its vectors")
    image_size: int = Field(224, ge=1, le=4096, description="pixels on each side of what it is given")
    resize: Literal["squash", "crop", "pad"] = "squash"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    preprocess: ImportPath | None = None
    regions: Literal["alone", "together"] = "alone"
    max_regions: int | None = Field(None, ge=1, le=32767, description="of an image, itself included; more of them fail")
    normalised: bool = Field(True, description="vectors are scaled to length 1; false: they stay as they come")
    text: bool = Field(False, description="it has a method encode_text(list of texts)")


class ModelSettings(Section):
    """One encoder; its name in the settings names its assets, `<name>_embeddings` and `<name>_index`."""

    kind: Literal["clip", "dino", "custom"]
    model: str = Field(min_length=1, description="bundled:clip | bundled:dino | hub id | folder; custom: weights file")
    revision: str | None = Field(None, description="commit of the hub repository; pin it")
    network: NetworkSettings | None = None
    device: str = Field("auto", pattern=DEVICE)
    precision: Precision = "fp32"
    backend: Literal["torch", "openvino"] = "torch"
    preprocessing: Literal["exact", "fast"] = "exact"
    batch_size: BatchSize = "auto"
    threads: int = Field(2, ge=1, le=64, description="threads that decode ahead of the model")
    streams: int | None = Field(None, ge=1, le=64, description="batches encoded side by side; default: one a core")
    parity: float | None = Field(None, ge=0, le=1, description="least cosine to float32 (.999; int8 .99); 0: any")
    calibration: int = Field(1, ge=1, description="raise it to calibrate int8 anew, on the pictures there are then")
    texts: bool = Field(True, description="encode the texts of records too, where the model reads text")

    # Not for the file: which side of the model is meant, and what int8 was calibrated on. See `Settings.spaces`.
    side: Literal["image", "text"] = Field("image", repr=False)
    calibrated: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", repr=False)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.kind != "custom" and self.network is not None:
            raise ValueError(
                f"`network` belongs to kind custom, and not to {self.kind}; remove it, or set kind to custom"
            )
        if self.kind == "custom" and self.network is None:
            raise ValueError("kind custom needs `network`, with its architecture and dimension; add it")
        if self.runs_on_openvino and self.kind == "custom":
            raise ValueError("kind custom runs on torch: set backend to torch, and precision to fp32, bf16 or fp16")
        if self.runs_on_openvino and self.device not in ("auto", "cpu"):
            raise ValueError("OpenVINO (which int8 needs) runs on the CPU here: set device to auto or cpu")
        if self.precision == "fp16" and self.runs_on_openvino:
            raise ValueError("OpenVINO computes in fp32, bf16 or int8 on a CPU; fp16 is for torch, on a GPU")
        return self

    @property
    def runs_on_openvino(self) -> bool:
        return self.backend == "openvino" or self.precision == "int8"

    @property
    def reads_text(self) -> bool:
        """Whether it has a text side, as far as the settings can tell."""
        return self.kind == "clip" or (self.network is not None and self.network.text)


def _said_by_user(model: object) -> object:
    if isinstance(model, Mapping):
        for name in ("side", "calibrated"):
            if model.get(name, ModelSettings.model_fields[name].default) != ModelSettings.model_fields[name].default:
                raise ValueError(f"unknown key {name!r}; remove it")
    return model


SaidModel = Annotated[ModelSettings, BeforeValidator(_said_by_user)]
