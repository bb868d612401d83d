"""An encoder whose vectors tell what it was given, and which may be as short of memory as a test wants it."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from embeddings_dagster.encoders import Encoded, Unit, Vectors, encode_units
from embeddings_dagster.encoders.base import Prepared
from embeddings_dagster.encoders.gate import Gate
from embeddings_dagster.errors import DecodeFailed
from embeddings_dagster_tests.encoders.tiny import unit

NAN, ZERO, BAD, ODD, HUGE = b"nan", b"zero", b"bad", b"odd", b"huge"


@dataclass
class Counting:
    """An encoder that turns a picture's grey level g into (g, 1); with `memory` for so many regions at once."""

    memory: int = 10**9
    whole_image: bool = False
    streams: int = 1
    enough: int = 0
    max_regions: int | None = None
    device: str = "cpu"
    precision: str = "fp32"
    gate: Gate | None = None
    calls: list[tuple[int, int]] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    name: str = "counting"
    dimension: int = 2
    image_size: tuple[int, int] = (1, 1)
    normalised: bool = False
    has_text: bool = False

    def prepare(self, image: Image.Image, unit: Unit) -> Vectors:
        return np.full((len(unit.regions), 3, 1, 1), np.asarray(image)[0, 0, 0], dtype=np.float32)

    def begin_stream(self) -> None:
        self.begun.append(threading.current_thread().name)

    def encode(self, images: Sequence[Prepared], batch_size: int) -> Vectors:
        pixels = np.concatenate([image.pixels for image in images])
        self.calls.append((len(pixels), batch_size))
        at_once = min(len(pixels), batch_size)
        if at_once > self.memory or 255 in pixels:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        grey = pixels[:, 0, 0, 0]
        vectors = np.stack([grey, np.ones_like(grey)], axis=1)
        vectors[grey == 254] = np.nan
        vectors[grey == 253] = 0
        return vectors

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        raise NotImplementedError

    def encode_long_text(self, texts: Sequence[str]) -> Vectors:
        raise NotImplementedError

    def close(self) -> None:
        return None


SPECIAL = {HUGE: 255, NAN: 254, ZERO: 253}


def decode(data: bytes, *, at_least: int = 0) -> Image.Image:
    if data == BAD:
        raise DecodeFailed("truncated")
    if data == ODD:
        raise KeyError("a bug of some library")
    return Image.new("RGB", (1, 1), (SPECIAL.get(data) or int(data),) * 3)


def units(*data: bytes) -> list[Unit]:
    return [unit(f"image {n}", each) for n, each in enumerate(data)]


def run(
    encoder: Counting, given: Iterable[Unit], *, batch_size: int = 4, decode: Callable[[bytes], Image.Image] = decode
) -> list[Encoded]:
    return list(encode_units(encoder, given, decode, batch_size=batch_size, threads=3))


def outcome(encoded: Encoded) -> object:
    if encoded.error is not None:
        assert encoded.vectors is None
        return type(encoded.error).__name__
    assert encoded.vectors is not None
    return int(encoded.vectors[0, 0])


def preparing_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("prepare", "encode"))]
