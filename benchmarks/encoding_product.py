"""The project's own work, each step in a process of its own: what is measured begins when everything is loaded."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from encoding_clock import Figures, measured, remembered
from encoding_inputs import change
from encoding_project import PICTURES, STAGES, WARM, Opened, forget

Spec = dict[str, Any]


def commit(spec: Spec) -> Figures:
    """Make `rgb_images` of both sources, to embed from; and write the committed pictures as files."""
    project = Opened(Path(spec["root"]))
    figures: Figures = {}
    with measured(figures):
        for source in (WARM, PICTURES):
            if source in project.settings.sources:
                project.discover(source)
                project.raw(source)
                project.rgb(source)
    if spec["files"]:
        _write_files(project, Path(spec["files"]))
    return figures


def _write_files(project: Opened, folder: Path) -> None:
    """The committed pictures, for those who read files, named so that their order is that of the originals."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in project.rows(PICTURES, "rgb_images", ("image_id", "image")):
        name = str(row["image_id"]).partition(":")[2].replace("/", "-")
        (folder / name).write_bytes(row["image"]["bytes"])


def calibrate(spec: Spec) -> Figures:
    """Calibrate a model for int8, on the pictures that are measured."""
    project = Opened(Path(spec["root"]))
    figures: Figures = {}
    with measured(figures):
        project.calibrate(spec["model"])
    return figures


def embed(spec: Spec) -> Figures:
    """`rgb_images` to committed vectors."""
    root, name = Path(spec["root"]), spec["model"]
    forget(root, [f"embeddings/{name}"])
    project = Opened(root)
    figures = _warm(project, name)
    with measured(figures):
        project.embed(PICTURES, name)
    return _checked(spec, project, figures)


def graph(spec: Spec) -> Figures:
    """Files to committed vectors, stage after stage; the wait for files to settle is no work, and not counted."""
    root, name = Path(spec["root"]), spec["model"]
    forget(root, STAGES)
    project = Opened(root)
    project.discover(WARM)
    project.raw(WARM)
    project.rgb(WARM)
    figures = _warm(project, name)
    steps: dict[str, Callable[[], None]] = {
        "discover": lambda: project.discover(PICTURES),
        "raw": lambda: project.raw(PICTURES),
        "rgb": lambda: project.rgb(PICTURES),
        "embed": lambda: project.embed(PICTURES, name),
        "index": lambda: project.index(name),
    }
    stages: dict[str, Figures] = {}
    for stage, step in steps.items():
        stages[stage] = {}
        with measured(stages[stage]):
            step()
    counted = [each for stage, each in stages.items() if stage != "index"]
    figures["cpu"] = sum(each["cpu"] for each in counted)
    figures["wall"] = sum(each["wall"] for stage, each in stages.items() if stage in ("raw", "rgb", "embed"))
    figures["stages"] = {stage: each["cpu"] for stage, each in stages.items()}
    return _checked(spec, project, figures)


def _warm(project: Opened, name: str) -> Figures:
    """Load the model, then encode a few pictures, through its gate if it has one; says what that took."""
    figures: Figures = {}
    loading: Figures = {}
    with measured(loading):
        encoder = project.encoder(name)
    warming: Figures = {}
    with measured(warming):
        project.embed(WARM, name)
    gate = encoder.gate
    figures.update(loading_cpu=loading["cpu"], warming_cpu=warming["cpu"], computes_in=encoder.precision)
    figures["gate"] = "none" if gate is None else "settled" if gate.settled else "looking"
    return figures


def _checked(spec: Spec, project: Opened, figures: Figures) -> Figures:
    """With the number of vectors, their precisions, and the vectors in a file.

    Raises:
        SystemExit: there are not as many as there are pictures, so the figures mean nothing.
    """
    vectors, precisions = project.vectors(spec["model"])
    if len(vectors) != spec["count"]:
        sys.exit(f"{spec['model']}: {len(vectors)} vectors of {spec['count']} pictures")
    np.save(spec["vectors"], vectors)
    return {**figures, "images": len(vectors), "precisions": dict(precisions)}


def run(spec: Spec) -> Figures:
    """Bring a project up to date: `stages` as functions, `run` with Dagster around them, `command` as one types it."""
    root = Path(spec["root"])
    if spec.get("wipe"):
        forget(root, STAGES)
    if spec.get("change"):
        change(Path(spec["pictures"]), spec["kind"], spec["count"], spec["change"], os.urandom(8).hex())
    figures: Figures = {"images": spec["count"]}
    if spec["how"] == "command":
        with measured(figures):
            command = [sys.executable, "-c", "from embeddings_dagster.cli import main; main()", "run"]
            subprocess.run(command, cwd=root, check=True, capture_output=True)
        return figures
    from embeddings_dagster.cli.project import Here

    here = Here.open(root / "embeddings.yaml")
    project = Opened(root)
    _warm_run(project)
    with measured(figures):
        if spec["how"] == "stages":
            _stages(project)
        else:
            from embeddings_dagster.cli.progress import RunProgress
            from embeddings_dagster.cli.running import Wish, execute

            execute(here, Wish((PICTURES,)), RunProgress())
    return figures


def _warm_run(project: Opened) -> None:
    """Load what every run uses."""
    import embeddings_dagster.definitions

    assert embeddings_dagster.definitions
    for name in project.settings.spaces:
        _one_picture(project, name)


def _stages(project: Opened) -> None:
    project.discover(PICTURES)
    project.raw(PICTURES)
    project.rgb(PICTURES)
    for name in project.settings.spaces:
        project.embed(PICTURES, name)
        project.index(name)
    project.catalog()


def memory(spec: Spec) -> Figures:
    """How far memory grows from `rgb_images` to committed vectors, above a process that has the model loaded."""
    root, name = Path(spec["root"]), spec["model"]
    forget(root, [f"embeddings/{name}"])
    project = Opened(root)
    _one_picture(project, name)
    figures: Figures = {}
    with remembered(figures), measured(figures):
        project.embed(PICTURES, name)
    return {**figures, "images": spec["count"]}


def _one_picture(project: Opened, name: str) -> None:
    """Load a model, and encode one picture with it."""
    from PIL import Image

    from embeddings_dagster.encoders import encode_image

    encode_image(project.encoder(name), Image.new("RGB", (64, 64)))
