"""The worker process: pictures come in, pixels or errors go out, until the parent closes the line.

Run as `python -m embeddings_dagster.images.worker`. It imports Pillow, numpy and this package only. Whatever a library
prints, the line stays clean: it is moved away from the standard streams before a decoder runs.
"""

import os
import sys
from dataclasses import asdict
from typing import BinaryIO

from PIL import AvifImagePlugin, Image

from embeddings_dagster.errors import DecodeFailed, DecodeOutOfMemory, ImageError
from embeddings_dagster.images import frames
from embeddings_dagster.images.decode import decode
from embeddings_dagster.images.opening import one_line
from embeddings_dagster.images.probe import Probe, probe
from embeddings_dagster.images.rgb import to_rgb
from embeddings_dagster.images.rules import DecodeRules
from embeddings_dagster.images.worker_guards import Memory, Noise, guard

# Measured, file included: the most that any kind takes is 52 bytes a pixel (an animated WebP with alpha), 41 the next.
MEMORY_AT_LEAST = 256 * 2**20
MEMORY_PER_PIXEL = 64
MEMORY_PER_BYTE = 6


def main() -> None:
    """Answer until the parent is gone."""
    requests, answers = _line()
    noise, memory = Noise(), Memory()
    guard(int(sys.argv[1]) if len(sys.argv) > 1 else None)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the parent decides how many decode at once
    frames.send(answers, {"ready": True})
    while True:
        try:
            question, (data,) = frames.receive(requests)
        except EOFError:
            return
        noise.take()
        answer, bodies = _answer(question, data, memory, noise)
        memory.free()
        frames.send(answers, answer, *bodies)


def allowance(size: int, pixels: int) -> int:
    """The bytes of memory that a picture may take, by the bytes of its file and the pixels its header claims."""
    return MEMORY_AT_LEAST + MEMORY_PER_BYTE * size + MEMORY_PER_PIXEL * pixels


def _line() -> tuple[BinaryIO, BinaryIO]:
    """The pipes from and to the parent, away from the standard streams, which lead nowhere from then on."""
    line = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return line


def _answer(question: frames.Header, data: bytes, memory: Memory, noise: Noise) -> tuple[frames.Header, list[bytes]]:
    told = question["rules"]
    rules = DecodeRules(**{**told, "background": tuple(told["background"])})
    # Pillow's own limit is twice this: what it would refuse is refused here anyway.
    Image.MAX_IMAGE_PIXELS = rules.max_pixels
    given = allowance(len(data), 0)
    found: Probe | None = None
    try:
        memory.allow(given)
        found = probe(data, rules)
        given = allowance(len(data), found.width * found.height)
        memory.allow(given)
        return _done(question, data, rules, found)
    except DecodeOutOfMemory as error:
        what = found.format if found else str(error).partition(":")[0]
        size = f"{found.width:,} x {found.height:,} pixels" if found else "its header"
        message = (
            f"{what}: decoding it takes more memory than there is, or than the {given // 2**20:,} MiB that {size} may "
            "take; replace it, or save it again as PNG or JPEG"
        )
        return {"error": "DecodeOutOfMemory", "message": message, "retryable": False}, []  # it would want as much again
    except ImageError as error:
        printed = one_line(noise.take()) if isinstance(error, DecodeFailed) else ""
        message = f"{error} (the decoder says: {printed})" if printed else str(error)
        return {"error": type(error).__name__, "message": message, "retryable": error.retryable}, []


def _done(question: frames.Header, data: bytes, rules: DecodeRules, found: Probe) -> tuple[frames.Header, list[bytes]]:
    do = question["do"]
    if do == "probe":
        return asdict(found), []
    if do == "decode":
        picture = decode(data, rules, at_least=question.get("at_least", 0))
        return {"width": picture.width, "height": picture.height}, [picture.tobytes()]
    made = to_rgb(data, rules)
    told: frames.Header = {"width": made.width, "height": made.height, "passthrough": made.passthrough}
    return told, [b"" if made.passthrough else made.data, made.thumbnail]  # the parent has those bytes already


if __name__ == "__main__":
    main()
