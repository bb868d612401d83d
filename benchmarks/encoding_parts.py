"""What is measured, part by part: the contestants, what has to be made first, and what is to be reached.

A part is measured in rounds, in each of which every contestant has its turn.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from encoding_contestants import (
    DEFAULT,
    FEW,
    GPU_VARIANTS,
    REFERENCE,
    VARIANTS,
    Contestant,
    Spec,
    Variant,
    libraries,
    loops,
    matrices,
    ours,
    possible,
    settings,
    with_vectors,
)
from encoding_inputs import pile
from encoding_models import MODELS, model_folder
from encoding_project import write_project

Run = Callable[[Spec], dict[str, Any]]

TITLES = {"png": "RGBA PNG, 475x475", "jpeg": "JPEG, 1024x1024", "small": "JPEG, 64x64"}
LEAST_COSINE = {"fp32": 0.99999, "bf16": 0.999, "fp16": 0.999, "int8": 0.99}
COMMITTED_TARGETS = {"fp32": 1.1, "bf16": 2.1, "int8": 3.5}
FILES_TARGETS = {"png": {"fp32": 0.90, "bf16": 1.4, "int8": 2.0}, "jpeg": {"fp32": 0.95, "bf16": 1.5, "int8": 2.2}}
GPU_TARGETS = {"clip": 10_000, "clip_l14": 2_000}  # images a second
AT_ONCE = (128, 256, 512, 1024)  # pictures, for the model alone on a GPU
AGAIN_TARGETS = {"nothing": 0.01, "one": 0.03}  # of the first run


def _nothing(_: Run) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Part:
    """`about` is what earlier results must agree with to be gone on with; `facts` is what the report needs to know, and
    `prepare` adds to it."""

    name: str
    section: str
    contestants: tuple[Contestant, ...]
    about: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[Run], dict[str, Any]] = _nothing


@dataclass(frozen=True)
class Sizes:
    """How much of each is measured, and on what."""

    work: Path
    images: int
    memory: tuple[int, ...]
    pictures: int
    again: int
    gpu: int
    device: str = "cpu"
    models: tuple[str, ...] = ("clip", "dino")
    inputs: tuple[str, ...] = ("png", "jpeg")
    variants: tuple[Variant, ...] = VARIANTS
    few: tuple[Variant, ...] = FEW  # of the models after the first
    threads: int = 2


def parts(sizes: Sizes) -> Iterator[Part]:
    """All parts, in the order in which they are measured."""
    if sizes.device != "cpu":
        yield from (gpu(sizes, model) for model in GPU_TARGETS)
        return
    for section in ("committed", "files"):
        for model in sizes.models:
            for kind in sizes.inputs:
                yield encoding(sizes, model, kind, section)
    for model in ("bundled_clip", "bundled_dino"):
        yield trained(sizes, model)
    yield orchestration(sizes)
    yield again(sizes)
    yield memory(sizes)


def encoding(sizes: Sizes, model: str, kind: str, section: str) -> Part:
    """(a) `committed` and (b) `files`: ours in each precision against the others; with (c), products of matrices in the
    same rounds."""
    name, committed = f"{section}-{model}-{kind}", section == "committed"
    root, folder, pictures = sizes.work / name, model_folder(sizes.work, model), sizes.work / f"{kind}-{sizes.images}"
    files = root / "files" if committed else None
    variants = possible(sizes.variants if model == sizes.models[0] else sizes.few)
    contestants = [
        *loops(folder, files or pictures, sizes.device),
        *libraries(MODELS[model].kind, folder, files or pictures, sizes.device),
        *ours("embed" if committed else "graph", root, variants),
    ]
    return Part(
        name,
        section,
        (*matrices(sizes.device), *with_vectors(contestants, root, sizes.images)),
        {"images": sizes.images, "variants": [each.name for each in variants]},
        {
            "title": f"{MODELS[model].title}, {TITLES[kind]}",
            "targets": COMMITTED_TARGETS if committed else FILES_TARGETS.get(kind, {}),
        },
        _prepared(sizes, root, model, pictures, kind, variants, files),
    )


def trained(sizes: Sizes, model: str) -> Part:
    """What each precision does to the vectors of a model whose weights were trained; the same in every round."""
    name = f"trained-{model}"
    root, folder, pictures = sizes.work / name, model_folder(sizes.work, model), sizes.work / f"sample-{sizes.images}"
    variants = possible(sizes.variants)
    reference = [each for each in loops(folder, pictures, sizes.device) if each.name == REFERENCE]
    contestants = with_vectors([*reference, *ours("embed", root, variants)], root, sizes.images)
    return Part(
        name,
        "trained",
        tuple(replace(each, once=True) for each in contestants),
        {"images": sizes.images, "variants": [each.name for each in variants]},
        {"title": MODELS[model].title},
        _prepared(sizes, root, model, pictures, "sample", variants, None),
    )


def _prepared(
    sizes: Sizes, root: Path, model: str, pictures: Path, kind: str, variants: tuple[Variant, ...], files: Path | None
) -> Callable[[Run], dict[str, Any]]:
    """Makes a project with each variant of a model, commits its pictures, and calibrates where that is needed."""

    def prepare(run: Run) -> dict[str, Any]:
        _project(sizes, root, model, pile(pictures, kind, sizes.images), kind, variants)
        run({"step": "commit", "root": str(root), "files": str(files or "")})
        counted = run({"step": "operations", "model": str(model_folder(sizes.work, model))})
        calibrated = [each.name for each in variants if each.precision == "int8"]
        return {
            "operations": counted["operations"],
            "calibration": {name: run({"step": "calibrate", "root": str(root), "model": name}) for name in calibrated},
        }

    return prepare


def _project(sizes: Sizes, root: Path, model: str, pictures: Path, kind: str, variants: tuple[Variant, ...]) -> None:
    """A project with each variant of a model, from nothing."""
    folder = model_folder(sizes.work, model, write=True)
    shutil.rmtree(root, ignore_errors=True)
    models = {
        each.name: settings(MODELS[model].kind, folder, each, device=sizes.device, threads=sizes.threads)
        for each in variants
    }
    write_project(root, pictures, kind, models)


def orchestration(sizes: Sizes) -> Part:
    """(e): the same work as functions and through Dagster, from nothing."""
    root = sizes.work / "orchestration"
    pictures = sizes.work / f"png-{sizes.pictures}"

    def prepare(run: Run) -> dict[str, Any]:
        shutil.rmtree(root, ignore_errors=True)
        for how in ("stages", "run"):
            write_project(root / how, pile(pictures, "png", sizes.pictures), "png", None)
        return {}

    common = {"step": "run", "wipe": True, "count": sizes.pictures}
    contestants = (
        Contestant("stages", "stages, called as functions", {**common, "how": "stages", "root": str(root / "stages")}),
        Contestant("run", "the same through Dagster", {**common, "how": "run", "root": str(root / "run")}),
    )
    return Part("orchestration", "orchestration", contestants, {"pictures": sizes.pictures}, prepare=prepare)


def again(sizes: Sizes) -> Part:
    """(f): a first run, then nothing changed, then a hundredth, each with the start of the process and without."""
    root = sizes.work / "again"
    pictures = root / "pictures"

    def prepare(run: Run) -> dict[str, Any]:
        shutil.rmtree(root, ignore_errors=True)
        write_project(root, pile(pictures, "png", sizes.again), "png", None)
        return {}

    nothing = {"step": "run", "root": str(root), "pictures": str(pictures), "kind": "png", "count": sizes.again}
    one = {**nothing, "change": 0.01}
    contestants = (
        Contestant("first", "first run", {**nothing, "how": "run"}, once=True),
        Contestant("nothing", "nothing changed", {**nothing, "how": "run"}),
        Contestant("nothing-command", "nothing changed, with the start of the process", {**nothing, "how": "command"}),
        Contestant("one", "1 % changed", {**one, "how": "run"}),
        Contestant("one-command", "1 % changed, with the start of the process", {**one, "how": "command"}),
    )
    return Part("again", "again", contestants, {"pictures": sizes.again}, {"targets": AGAIN_TARGETS}, prepare)


def memory(sizes: Sizes) -> Part:
    """(d): `rgb_images` to vectors by a model that is next to nothing, at each size."""
    root = sizes.work / "memory"

    def prepare(run: Run) -> dict[str, Any]:
        for count in sizes.memory:
            pictures = pile(sizes.work / f"small-{count}", "small", count)
            _project(sizes, root / str(count), "trivial", pictures, "small", (DEFAULT,))
            run({"step": "commit", "root": str(root / str(count)), "files": ""})
        return {}

    spec = {"step": "memory", "model": DEFAULT.name}
    contestants = tuple(
        Contestant(str(count), f"{count:,} images", {**spec, "root": str(root / str(count)), "count": count}, DEFAULT)
        for count in sizes.memory
    )
    return Part("memory", "memory", contestants, {"memory": list(sizes.memory)}, prepare=prepare)


def gpu(sizes: Sizes, model: str) -> Part:
    """The same on a GPU: how near to the slower of the decoder alone and the model alone."""
    name = f"gpu-{model}"
    root, folder, pictures = sizes.work / name, model_folder(sizes.work, model), sizes.work / f"jpeg256-{sizes.gpu}"

    def prepare(run: Run) -> dict[str, Any]:
        _project(sizes, root, model, pile(pictures, "jpeg256", sizes.gpu), "jpeg256", GPU_VARIANTS)
        run({"step": "commit", "root": str(root), "files": str(root / "files")})
        return {}

    contestants = loops(folder, root / "files", sizes.device)[1:2]
    for each in ours("embed", root, GPU_VARIANTS):
        assert each.ours is not None
        alone = {"folder": str(folder), "device": sizes.device, "precision": each.ours.precision, "at_once": AT_ONCE}
        contestants += [
            Contestant(f"decoding-{each.name}", "decoder alone", {**each.spec, "step": "decoding"}),
            Contestant(f"model-{each.name}", "model alone", {"step": "model", **alone}),
            each,
        ]
    facts = {"title": MODELS[model].title, "target": GPU_TARGETS[model]}
    full = tuple(with_vectors(contestants, root, sizes.gpu))
    return Part(name, "gpu", full, {"images": sizes.gpu, "device": sizes.device}, facts, prepare)
