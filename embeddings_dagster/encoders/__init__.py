"""Models: which one exactly, its files, its vectors. torch is imported only here, and only when a model is loaded."""

from embeddings_dagster.encoders.base import Decode, Encoded, Encoder, Region, Unit, Vectors
from embeddings_dagster.encoders.batch_size import BatchSize
from embeddings_dagster.encoders.identity import ModelIdentity, identify
from embeddings_dagster.encoders.loading import load, open_private, unload
from embeddings_dagster.encoders.pipeline import encode_image, encode_units
from embeddings_dagster.encoders.unit_length import unit_length

__all__ = [
    "BatchSize",
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
    "open_private",
    "unit_length",
    "unload",
]
