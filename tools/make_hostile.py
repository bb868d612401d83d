"""Makes a folder of hostile files from the bundled sample, and a manifest of what each must become.

    python tools/make_hostile.py OUT [--seed 7]

About 350 files in 30 kinds: sound pictures of strange kinds, broken and malicious ones, and things in a folder that are
no files at all. The same seed gives the same bytes. `manifest.json` beside the folder `files` says for each file its
kind, what is expected of it, and by which error classes it may fail; names are as Python has them, bytes that are not
UTF-8 as lone surrogates. The time bomb takes some minutes to decode where `rgb.max_seconds` allows it that.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hostile_broken as broken
import hostile_strange as strange
from hostile_strange import Files, Pictures, saved
from PIL import Image

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample" / "emoji"
GOOD, FAILURE, EITHER, IGNORED = "good", "failure", "either", "ignored"
MANIFEST, FOLDER = "manifest.json", "files"


@dataclass(frozen=True)
class Kind:
    """`expect`: one of the four above; `errors`: the classes by which its files may fail."""

    expect: str
    make: Callable[[Pictures], Files]
    errors: tuple[str, ...] = ()


DAMAGED = ("DecodeFailed",)
ANY = ("DecodeFailed", "DecodeOutOfMemory", "FormatNotAllowed", "TooManyPixels")
KINDS = {
    "wrong extension": Kind(GOOD, strange.wrong_extension),
    "CMYK and YCCK": Kind(GOOD, strange.cmyk),
    "1 bit": Kind(GOOD, strange.one_bit),
    "palette, one transparent colour": Kind(GOOD, strange.palette),
    "16 bits": Kind(GOOD, strange.sixteen_bits),
    "alpha": Kind(GOOD, strange.alpha),
    "Lab, YCbCr, planes": Kind(GOOD, strange.other_colours),
    "several frames or pages": Kind(GOOD, strange.several_frames),
    "colour profile, sound or not": Kind(GOOD, strange.profiles),
    "EXIF, sound or not": Kind(GOOD, strange.exif),
    "odd PNG chunks": Kind(GOOD, strange.odd_chunks),
    "odd codings": Kind(GOOD, strange.odd_codings),
    "1 x 1, 1 x 20,000": Kind(GOOD, strange.odd_sizes),
    "TIFF directories in a loop": Kind(GOOD, strange.directories),
    "odd names": Kind(GOOD, lambda pictures: ((name, saved(pictures.rgba(), "PNG")) for name in _odd_names())),
    "empty file": Kind(FAILURE, broken.empty, ("FormatNotAllowed",)),
    "zero bytes": Kind(FAILURE, broken.zeros, ("FormatNotAllowed",)),
    "not a picture": Kind(FAILURE, broken.strangers, ("FormatNotAllowed",)),
    "truncated": Kind(FAILURE, broken.truncated, DAMAGED),
    "declared bomb": Kind(FAILURE, broken.declared_bombs, ("TooManyPixels", "DecodeFailed")),
    "real bomb": Kind(FAILURE, broken.real_bombs, ("TooManyPixels",)),
    "memory bomb": Kind(FAILURE, broken.memory_bombs, ("DecodeOutOfMemory",)),
    "time bomb": Kind(FAILURE, broken.time_bombs, ("DecodeTookTooLong",)),
    "float, 32 bits": Kind(FAILURE, broken.deep_values, DAMAGED),
    "damaged header": Kind(FAILURE, broken.headers, (*DAMAGED, "TooManyPixels")),
    "flipped bytes": Kind(EITHER, broken.flipped, ANY),
    "damaged restarts": Kind(EITHER, broken.restarts, DAMAGED),
}
# What only a file system can hold; made by `_special_files`.
SPECIAL = {
    "unreadable": (FAILURE, ("ReadFailed",)),
    "link, link in a loop": (IGNORED, ()),
    "pipe, socket, device": (IGNORED, ()),
    "other extension": (IGNORED, ()),
}


def make_hostile(out: Path, seed: int = 7, sample: Path = SAMPLE) -> dict[str, dict[str, object]]:
    """Write the files to `out/files`, the manifest beside it; returns the manifest: file -> kind, expect, errors."""
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    originals = [_original(path) for path in sorted(sample.glob("*/*.png")) if path.parent.name != "broken"]
    manifest: dict[str, dict[str, object]] = {}
    for name, kind in KINDS.items():
        below = folder / _plain(name)
        below.mkdir(exist_ok=True)
        for file, data in kind.make(Pictures(originals, random.Random(f"{seed}/{name}"))):
            (below / file).write_bytes(data)
            manifest[f"{below.name}/{file}"] = {"kind": name, "expect": kind.expect, "errors": list(kind.errors)}
    for name, path in _special_files(folder, originals[0]):
        expect, errors = SPECIAL[name]
        if expect == FAILURE and os.access(path, os.R_OK):  # as root
            expect, errors = GOOD, ()
        manifest[path.relative_to(folder).as_posix()] = {"kind": name, "expect": expect, "errors": list(errors)}
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1))
    return manifest


def _original(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGBA")


def _plain(kind: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in kind)


def _odd_names() -> Iterator[str]:
    yield from ("new\nline.png", "a\ttab.png", "\x1b[31mred.png", "🦊 fox 👩‍🚀.png", "space at the end .png", " .png")
    yield from ("100%25#2.png", "quo'te\".png", "$(touch x).png", "-rf.png", "a\\b.png", "x" * 240 + ".png", "CASE.PNG")
    yield from ("\N{RIGHT-TO-LEFT OVERRIDE}gnp.png", "e\u0301.png", "\u00e9.png", "a:b*c?.png", "dots...png", "#.png")
    yield from (os.fsdecode(b"\xff\xfe.png"), os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"\xed\xa0\x80.png"))


def _special_files(folder: Path, picture: Image.Image) -> Iterator[tuple[str, Path]]:
    below = folder / "special"
    below.mkdir(exist_ok=True)
    data = saved(picture, "PNG")
    for name in ("notes.txt", "drawing.svg", "no-extension"):
        (below / name).write_bytes(data)
        yield "other extension", below / name
    shut = below / "shut.png"
    shut.write_bytes(data)
    shut.chmod(0)
    yield "unreadable", shut
    for name, target in {"itself.png": "itself.png", "there.png": "back.png", "back.png": "there.png"}.items():
        yield "link, link in a loop", _linked(below / name, target)
    yield "link, link in a loop", _linked(below / "up", "..")
    yield "link, link in a loop", _linked(below / "nothing.png", "nowhere")
    for name, mode in {"pipe.png": stat.S_IFIFO, "socket.png": stat.S_IFSOCK, "null.png": stat.S_IFCHR}.items():
        try:
            os.mknod(below / name, mode | 0o600, os.makedev(1, 3) if mode == stat.S_IFCHR else 0)
        except PermissionError:  # only root makes devices
            continue
        yield "pipe, socket, device", below / name
    (below / "folder.png").mkdir(exist_ok=True)


def _linked(path: Path, target: str) -> Path:
    path.symlink_to(target)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    manifest = make_hostile(arguments.out, arguments.seed)
    kinds = {each["kind"] for each in manifest.values()}
    print(f"{len(manifest)} files in {len(kinds)} kinds: {arguments.out / FOLDER}")


if __name__ == "__main__":
    main()
