"""Models: which one exactly, its files, its vectors. torch is imported only here, and only when a model is loaded."""

from embeddings_dagster.encoders.base import Decode, Encoded, Encoder, Region, Unit, Vectors
from embeddings_dagster.encoders.identity import ModelIdentity, identify
from embeddings_dagster.encoders.loading import load, unload
from embeddings_dagster.encoders.pipeline import encode_image, encode_units

__all__ = [
    "Decode",
    "Encoded",
    "Encoder",
    "ModelIdentity",
    "Region",
    "Unit",
    "Vectors",
    "encode_image",
    "encode_units",
    "identify",
    "load",
    "unload",
]
