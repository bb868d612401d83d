"""Pictures: safe decoding, RGB bytes, thumbnails, regions. Bytes in, pixels or an `ImageError` out; no disk."""

from embeddings_dagster.images.cores import usable_cores
from embeddings_dagster.images.decode import decode
from embeddings_dagster.images.probe import Probe, probe
from embeddings_dagster.images.regions import Box, clamp, crop
from embeddings_dagster.images.rgb import RgbImage, to_rgb
from embeddings_dagster.images.rules import DecodeRules, recipe
from embeddings_dagster.images.workshop import Workshop

__all__ = [
    "Box",
    "DecodeRules",
    "Probe",
    "RgbImage",
    "Workshop",
    "clamp",
    "crop",
    "decode",
    "probe",
    "recipe",
    "to_rgb",
    "usable_cores",
]
