"""Models of one's own: a network by import path, a checkpoint, and what it is called with (see docs/models.md)."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from embeddings_dagster.encoders.base import Pixels, Prepared, Unit, Vectors
from embeddings_dagster.encoders.files import ModelFiles
from embeddings_dagster.encoders.import_path import code_digests
from embeddings_dagster.encoders.unit_length import unit_length
from embeddings_dagster.errors import ModelError
from embeddings_dagster.images.regions import clamp, crop
from embeddings_dagster.settings_models import ModelSettings, NetworkSettings

if TYPE_CHECKING:
    from embeddings_dagster.encoders.fitting import Fitting, OwnFitting
    from embeddings_dagster.encoders.gate import Gate
    from embeddings_dagster.encoders.own_network import OwnNetwork

TEXTS_AT_ONCE = 64


def decides(network: NetworkSettings) -> dict[str, str]:
    """What of the settings decides a vector, and the digests of the code: nothing of it says where the files lie.

    Raises:
        ModelError: there is no such code.
    """
    digests = code_digests(network)
    told: dict[str, object] = {
        "architecture": [network.architecture.rpartition(":")[2], digests["architecture"]],
        "arguments": network.arguments,
        "regions": network.regions,
        "normalised": network.normalised,
    }
    if network.preprocess is None:
        told |= {name: getattr(network, name) for name in ("image_size", "resize", "mean", "std")}
    else:
        told["preprocess"] = [network.preprocess.rpartition(":")[2], digests["preprocess"]]
    if network.regions == "together":
        told["max_regions"] = network.max_regions
    return {f"network.{name}": json.dumps(value, sort_keys=True, default=str) for name, value in told.items()}


def open_custom(model: ModelSettings, files: ModelFiles, device: str) -> "CustomEncoder":
    """The encoder of a model of kind custom, on `device`; the caller holds `runtime.LOCK`.

    Raises:
        ModelError: its code or its checkpoint cannot be used.
    """
    from embeddings_dagster.encoders.fitting import fitting
    from embeddings_dagster.encoders.own_network import OwnNetwork, build
    from embeddings_dagster.encoders.precision import resolve

    settings = model.network
    assert settings is not None
    precision = resolve(model.precision, device, "torch")
    fit = fitting(settings, fast=model.preprocessing == "fast")
    network = OwnNetwork(
        model.model,
        build(settings, files, model.model),
        dimension=settings.dimension,
        device=device,
        precision=precision,
        streams=model.streams,
        table=fit.table,
    )
    return CustomEncoder(settings, fit, network)


class CustomEncoder:
    """A network of one's own. With `regions: together` it sees an image with all its regions in one call."""

    def __init__(self, settings: NetworkSettings, fit: "Fitting | OwnFitting", network: "OwnNetwork") -> None:
        self.name = network.name
        self.dimension = network.dimension
        self.image_size = fit.size
        self.whole_image = settings.regions == "together"
        self.enough = 0 if self.whole_image else fit.enough  # boxes are in pixels of the whole picture
        self.max_regions = settings.max_regions
        self.normalised = settings.normalised
        self.has_text = settings.text
        self.device, self.precision, self.streams = network.device, network.precision, network.streams
        self.gate: Gate | None = None
        self._fit, self._network = fit, network

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._network.closed

    def prepare(self, image: Image.Image, unit: Unit) -> Pixels:
        """See `Encoder.prepare`."""
        pixels = np.stack([self._fit(crop(image, region.box)) for region in unit.regions])
        return cast(Pixels, pixels)

    def begin_stream(self) -> None:
        """See `Encoder.begin_stream`."""
        self._network.begin_stream()

    def encode(self, images: Sequence[Prepared], batch_size: int) -> Vectors:
        """See `Encoder.encode`."""
        if self.whole_image:
            features = [self._network.image(each.pixels, boxes(each), texts(each)) for each in images]
        else:
            pixels = np.concatenate([each.pixels for each in images])
            starts = range(0, len(pixels), batch_size)
            features = [self._network.pictures(pixels[start : start + batch_size]) for start in starts]
        vectors = np.concatenate(features)
        return unit_length(vectors) if self.normalised else vectors

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder.encode_text`. The network is given whole texts, and does with long ones as it sees fit."""
        if not self.has_text:
            raise ModelError(
                f"the model {self.name!r} knows pictures only, no text; ask another, or give its network a method "
                "encode_text and set network.text"
            )
        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            out[start : start + TEXTS_AT_ONCE] = unit_length(self._network.texts(texts[start : start + TEXTS_AT_ONCE]))
        return out

    def encode_long_text(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder.encode_long_text`."""
        return self.encode_text(texts)

    def close(self) -> None:
        """See `Encoder.close`."""
        if self.gate is not None:
            self.gate.close()
        self._network.close()


def boxes(image: Prepared) -> Vectors:
    """x, y, width and height of each region in pixels of the upright picture, (regions, 4) float32, within it."""
    width, height = image.size
    found = [clamp(region.box, width, height) if region.box else (0, 0, width, height) for region in image.unit.regions]
    return np.array(found, dtype=np.float32)


def texts(image: Prepared) -> list[str | None]:
    """What is written in each region, as far as its source knows."""
    return [region.text for region in image.unit.regions]
