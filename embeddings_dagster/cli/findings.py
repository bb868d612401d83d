"""What `doctor` looks at: each function looks at one thing, changes nothing, and says what to do about it."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from embeddings_dagster.cli.project import Here
from embeddings_dagster.cli.terminal import size
from embeddings_dagster.errors import EmbeddingsError

OK, WARN, FAIL = "ok", "warn", "fail"
LITTLE_DISK, NO_DISK = 5e9, 5e8  # bytes: a model and a large batch, and one part with room to fold
EXTRAS = {"ui": ("dagster_webserver", "the UI (`make ui`)"), "s3": ("s3fs", "a store on S3"),
          "openvino": ("openvino", "models in int8, and faster ones on a CPU")}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One line: how `what` is, and where it is not well, the remedy."""

    level: str
    what: str
    says: str
    remedy: str = ""


def versions(project: Here) -> Iterator[Finding]:
    """The versions that matter in a bug report."""
    named = ", ".join(f"{name} {version(name)}" for name in ("embeddings-dagster", "dagster", "torch", "faiss-cpu"))
    yield Finding(OK, "versions", f"python {sys.version.split()[0]}, {named}")


def settings(project: Here) -> Iterator[Finding]:
    """The settings file and the folders it names."""
    count = f"{len(project.settings.sources)} sources, {len(project.settings.models)} models"
    yield Finding(OK, "settings", f"{project.file}: {count}")
    if not project.settings.sources:
        yield Finding(WARN, "sources", "none", f"name a folder of pictures under `sources` in {project.file.name}")
    problems = project.settings.check_folders()
    for problem in problems:
        says, _, remedy = problem.rpartition("; ")
        yield Finding(FAIL, "source folder", says, remedy)
    if project.settings.sources and not problems:
        yield Finding(OK, "source folders", "all there")


def store(project: Here) -> Iterator[Finding]:
    """Whether the store can be written, and commits in it are exclusive."""
    try:
        project.store.files.require_exclusive()
        project.settings.cache_root.mkdir(parents=True, exist_ok=True)
    except EmbeddingsError as error:
        yield Finding(
            FAIL, "store", str(error), "put `data` on a local disk, or an object store with conditional writes"
        )
    except OSError as error:
        yield Finding(
            FAIL, "store", f"{project.settings.data_root} cannot be written: {error}", "correct `data`, or its rights"
        )
    else:
        yield Finding(OK, "store", f"{project.settings.data_root}, commits are exclusive")


def disk(project: Here) -> Iterator[Finding]:
    """Room for the store and the cache."""
    folders = {"cache": project.settings.cache_root}
    if "://" not in project.settings.data_root:
        folders = {"data": Path(project.settings.data_root)} | folders
    seen: set[int] = set()
    for name, folder in folders.items():
        there = next(each for each in (folder, *folder.parents) if each.exists())
        if os.stat(there).st_dev in seen:
            continue
        seen.add(os.stat(there).st_dev)
        free = shutil.disk_usage(there).free
        level = FAIL if free < NO_DISK else WARN if free < LITTLE_DISK else OK
        yield Finding(
            level, f"disk of {name}", f"{size(free)} free", "" if level == OK else "make room, or move `data`"
        )


def home(project: Here) -> Iterator[Finding]:
    """Whether `dagster` commands and this one share one history."""
    from embeddings_dagster.defs.home import CONFIG_NAME, HOME_NAME, HOME_VARIABLE, project_home

    own = project.settings.root / HOME_NAME
    used = project_home(project.settings)
    export = f"export {HOME_VARIABLE}={own}"
    if HOME_VARIABLE not in os.environ:
        yield Finding(WARN, HOME_VARIABLE, f"not set; `embeddings` uses {own}, `dagster` would not", export)
    elif used.resolve() != own.resolve():
        yield Finding(WARN, HOME_VARIABLE, f"{used} is not this project's {own}", export)
    else:
        yield Finding(OK, HOME_VARIABLE, str(used))
    if not (used / CONFIG_NAME).exists():
        yield Finding(WARN, CONFIG_NAME, f"none in {used}", "`embeddings run` writes it")


def history(project: Here) -> Iterator[Finding]:
    """Pool limits, and runs that died without Dagster noticing."""
    from embeddings_dagster.defs.history import dead_runs, pool_limits
    from embeddings_dagster.defs.home import project_home, project_instance
    from embeddings_dagster.defs.resources import Project

    if not project_home(project.settings).is_dir():
        return
    wanted = Project(project.settings).pool_limits()
    with project_instance(project.settings) as instance:
        limits, dead = pool_limits(instance), dead_runs(instance)
    for pool, limit in wanted.items():
        if pool not in limits:
            yield Finding(WARN, f"pool {pool}", "has no limit yet", "`embeddings run` sets it")
        elif limits[pool] != limit:
            remedy = f"dagster instance concurrency set {pool} {limit}, if the settings are right"
            yield Finding(WARN, f"pool {pool}", f"limit {limits[pool]}, by the settings {limit}", remedy)
    if all(limits.get(pool) == limit for pool, limit in wanted.items()):
        yield Finding(OK, "pools", ", ".join(f"{pool} {limit}" for pool, limit in wanted.items()))
    if dead:
        yield Finding(WARN, "dead runs", ", ".join(run[:8] for run in dead), "the next `embeddings run` ends them")
    else:
        yield Finding(OK, "dead runs", "none")


def models(project: Here) -> Iterator[Finding]:
    """Whether each model's files are here and can be loaded, on the device the settings ask for."""
    from embeddings_dagster.encoders import identify, load
    from embeddings_dagster.stages.calibration import bring_here, with_calibration

    for name, wanted in project.settings.models.items():
        try:
            model = with_calibration(project.store, name, wanted)
            identity = identify(model, download=False)
            if model.precision == "int8" and model.calibrated is None:
                yield Finding(OK, f"model {name}", f"{model.model}; its first run calibrates it for int8")
                continue
            bring_here(project.store, name, model)
            encoder = load(model, cache=project.store.cache)
        except EmbeddingsError as error:
            says, _, remedy = str(error).partition(". ")
            yield Finding(FAIL, f"model {name}", says, remedy or "correct it in the settings")
        else:
            what = f"{model.model}, {identity.fp12}, {identity.dimension} numbers"
            yield Finding(OK, f"model {name}", f"{what}, in {encoder.precision} on {encoder.device}")


def extras(project: Here) -> Iterator[Finding]:
    """Optional packages: missing ones matter only to those who need them."""
    for extra, (module, purpose) in EXTRAS.items():
        needed = {
            "s3": project.settings.data_root.startswith("s3"),
            "openvino": any(model.runs_on_openvino for model in project.settings.models.values()),
        }.get(extra, False)
        if importlib.util.find_spec(module):
            yield Finding(OK, f"extra {extra}", "installed")
        else:
            remedy = f"pip install 'embeddings-dagster[{extra}]'"
            yield Finding(FAIL if needed else WARN, f"extra {extra}", f"not installed; for {purpose}", remedy)


Look = Callable[[Here], Iterator[Finding]]
LOOKS: tuple[Look, ...] = (versions, settings, store, disk, home, history, extras, models)
