"""Repairs of what is not rows: registries, calibrations, analyses, downloads; and room for indexes and the catalogue to
be made anew. See `repair_ledger` for ledgers, `repair_rows` for what a run of a batch needs first.

Each makes anew what is damaged, from upstream, and nothing else; each says what it cannot; each may be repeated.
"""

import hashlib
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from embeddings_dagster.catalog import Catalogue
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.encoders.kept_model import FILES, read_contents
from embeddings_dagster.encoders.openvino_model import calibrated_folder
from embeddings_dagster.errors import CorruptFile, EmbeddingsError
from embeddings_dagster.index import GenerationManifest, Generations
from embeddings_dagster.sources.downloads.record import FILE
from embeddings_dagster.stages.analyses import analyses
from embeddings_dagster.stages.analysis_files import Analysis, AnalysisManifest
from embeddings_dagster.stages.analysis_pictures import analysed_model
from embeddings_dagster.stages.calibration import (
    RECORD,
    calibrations,
    commit_record,
    read_calibration,
    with_calibration,
)
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.duplicates import ASSET as DUPLICATES
from embeddings_dagster.stages.duplicates import refresh_duplicates
from embeddings_dagster.stages.embedding_map import ASSET as MAP
from embeddings_dagster.stages.embedding_map import refresh_map
from embeddings_dagster.stages.models import read_version, register, registry
from embeddings_dagster.stages.repair_chains import clear_generations, clear_versions, drop_unreadable, is_damaged
from embeddings_dagster.stages.verify import indexes
from embeddings_dagster.stages.verify_downloads import DATASET as DOWNLOADS
from embeddings_dagster.store import Problem, Store, Versions, erase_generations

CHUNK = 2**20


@dataclass
class Done:
    """What repairs came to, a line each: what was made anew or cleared away, and what could not be, with the reason."""

    repaired: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def repair_registry(context: StageContext, model: str, identity: ModelIdentity | None, done: Done) -> None:
    """Fall back to the version before, and register the settings' model anew where its index is there."""
    store, versions = context.store, registry(context.store, model)
    dropped = drop_unreadable(store, versions, lambda number: read_version(store, model, number))
    if identity is not None and Generations(store, model, identity.fp12).numbers():
        settings = with_calibration(store, model, context.settings.spaces[model])
        register(store, model, identity, settings, run_id=context.run_id)
        done.repaired.append(f"models {model}: {identity.fp12} is registered")
    if dropped:
        done.repaired.append(f"models {model}: a switch by hand, if that was the last change, is to be repeated")
    cleared = clear_versions(store, versions, lambda number: read_version(store, model, number))
    done.repaired += [f"{path} is cleared away" for path in cleared]


def repair_calibrations(context: StageContext, model: str, done: Done) -> None:
    """Put back files and records of calibrations that this machine's cache still holds whole."""
    store = context.store
    for versions in calibrations(store, model):
        here = _kept_here(store, versions)
        if here is None:
            continue
        record = versions.path(RECORD)
        try:
            found = read_calibration(versions)
        except CorruptFile:
            store.files.delete(record)
            found = None
        if found is None:
            commit_record(context, model, versions, here)
            done.repaired.append(f"{record} is there again")
            continue
        for name, path in found.files.items():
            if is_damaged(store, path, found.contents["files"][name]):
                with (here / name).open("rb") as source, store.files.writing(path) as target:
                    shutil.copyfileobj(source, target, CHUNK)
                done.repaired.append(f"{path} is there again, from the cache")


def _kept_here(store: Store, versions: Versions) -> Path | None:
    """The folder in the cache that has the calibration of a record; where that cannot be read, of its files."""
    folder = calibrated_folder(store.cache)
    kept = [each for each in folder.iterdir() if not each.name.startswith(".")] if folder.is_dir() else []
    whole = {each: read_contents(each)["files"] for each in kept if _is_whole(each)}
    try:
        found = read_calibration(versions)
    except CorruptFile:
        found = None
    if found is not None:
        return next((each for each, files in whole.items() if files == found.contents["files"]), None)
    inside = f"{versions.folder.removesuffix('manifests')}files"
    stored = {_sha256(store, f"{inside}/{name}") for name in store.files.names(inside)}
    return next((each for each, files in whole.items() if set(files.values()) <= stored), None)


def _is_whole(folder: Path) -> bool:
    """Every byte is read: what the cache remembers of its own files is not good enough to be put back."""
    try:
        data = (folder / "contents.json").read_bytes()
        files = read_contents(folder)["files"]
        same = [hashlib.sha256((folder / name).read_bytes()).hexdigest() == files[name] for name in FILES]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return all(same) and hashlib.sha256(data).hexdigest() == folder.name


def _sha256(store: Store, path: str) -> str:
    with store.files.open(path) as handle:
        digest = hashlib.sha256()
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def make_room(context: StageContext, identities: Mapping[str, ModelIdentity], done: Done) -> None:
    """Let indexes of the settings' models, and the catalogue, be refreshed: newest generations that cannot be read make
    way for the one before."""
    store = context.store
    for generations in indexes(store):
        identity = identities.get(generations.model)
        if identity is not None and identity.fp12 == generations.fp12:
            for number in drop_unreadable(store, generations.versions, generations.get):
                done.repaired.append(f"{generations.versions.path(number)} made way for the one before")
    catalogue = Catalogue(store)
    for number in drop_unreadable(store, catalogue.versions, catalogue.get):
        done.repaired.append(f"{catalogue.versions.path(number)} made way for the one before")


def clear_older(context: StageContext, done: Done) -> None:
    """Clear away what is damaged of older generations of indexes and of the catalogue."""
    catalogue = Catalogue(context.store)
    cleared = clear_generations(catalogue, lambda each: {catalogue.path(each.file): each.sha256})
    for generations in indexes(context.store):
        cleared += clear_generations(generations, partial(_files_of_index, generations))
    done.repaired += [f"{path} is cleared away" for path in cleared]


def _files_of_index(generations: Generations, manifest: GenerationManifest) -> dict[str, str]:
    hashes = (segment.hashes() for segment in manifest.segments)
    return {generations.path(file): sha256 for each in hashes for file, sha256 in each.items()}


def repair_analyses(context: StageContext, damaged: Collection[str], done: Done) -> None:
    """Make analyses anew of which the newest generation is damaged, but canaries: their reference is of its time."""
    for analysis in list(analyses(context.store)):
        if analysis.name not in damaged:
            continue
        if _newest_is_sound(analysis):
            cleared = clear_generations(analysis, partial(_files_of, analysis))
            done.repaired += [f"{path} is cleared away" for path in cleared]
            continue
        kind, _, model = analysis.name.partition("/")
        if kind not in (DUPLICATES, MAP):
            done.refused.append(f"{analysis.folder}: {analysis.remedy}")
            continue
        erase_generations(context.store, analysis)
        try:
            if kind == DUPLICATES:
                refresh_duplicates(context, analysed_model(context.settings))
            elif model in context.settings.models:
                refresh_map(context, model)
            done.repaired.append(f"{analysis.folder} is made anew")
        except EmbeddingsError as error:
            done.refused.append(f"{analysis.folder}: is gone, and could not be made anew yet: {error}")


def _files_of(analysis: Analysis, manifest: AnalysisManifest) -> dict[str, str]:
    return {analysis.path(file.file): file.sha256 for file in manifest.files.values()}


def _newest_is_sound(analysis: Analysis) -> bool:
    try:
        newest = analysis.latest()
    except CorruptFile:
        return False
    return newest is None or not analysis.faults(newest, again=True)


def drop_downloads(context: StageContext, problems: Collection[Problem], done: Done) -> None:
    """Delete downloads that are not what came: they are fetched again when they are next read."""
    for problem in problems:
        if problem.dataset == DOWNLOADS and not problem.file.endswith(f"/{FILE}"):
            folder = context.settings.image_cache(problem.batch)
            (folder / problem.file.removeprefix(f"{DOWNLOADS}/{problem.batch}/")).unlink(missing_ok=True)
            done.repaired.append(f"{problem.file} is deleted, and fetched again when it is next read")
