"""What int8 was calibrated on, for each model: chosen once, on the first pictures there are, and frozen in the store.

A quantised model's files are immutable; the record that names them is created exclusively, and last. So of several
processes that calibrate at once one wins, the others take what it made, and a killed one leaves nothing that is used.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from embeddings_dagster.encoders import identify
from embeddings_dagster.encoders.int8 import MOST
from embeddings_dagster.encoders.int8 import calibrate as quantise_on
from embeddings_dagster.encoders.kept_model import FILES, is_whole, keep, read_contents
from embeddings_dagster.encoders.openvino_model import calibrated_folder
from embeddings_dagster.errors import CommitConflict, CorruptFile, ModelUnavailable
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.account import now
from embeddings_dagster.stages.calibration_sample import sample
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.held import held
from embeddings_dagster.stages.opened import workshop
from embeddings_dagster.store import Store, Versions
from embeddings_dagster.store.linked import placed

RECORD = 1  # the number of the one version that a calibration has
CHUNK = 2**20


@dataclass(frozen=True)
class Calibration:
    """A quantised model in the store. `files` are the paths of its files there, by their names; `contents` is what
    `digest` is the digest of: their sha256, and what they were made from."""

    digest: str
    files: Mapping[str, str]
    contents: Mapping[str, Any]

    def hashes(self) -> dict[str, str]:
        """The sha256 of each of the files, by their paths in the store."""
        return {self.files[name]: sha256 for name, sha256 in self.contents["files"].items()}


def with_calibration(store: Store, name: str, model: ModelSettings, *, download: bool = True) -> ModelSettings:
    """`model` with the calibration that the store holds for it, if it computes pictures in int8 and there is one.

    Raises:
        ModelUnavailable, ModelError: as `identify` does.
    """
    if not _is_int8(model) or model.calibrated is not None:
        return model
    found = read_calibration(calibration_chain(store, name, _key(model, download)))
    return model if found is None else model.model_copy(update={"calibrated": found.digest})


def calibrate(context: StageContext, name: str, model: ModelSettings, batch: str) -> ModelSettings:
    """`model` with its calibration, which is made here when there is none yet: on up to `MOST` pictures of `batch`,
    and on those of other batches where it has fewer.

    Raises:
        ModelError: there are too few pictures.
        MissingExtra, ModelUnavailable: the model cannot be loaded, or quantised here.
    """
    store = context.store
    model = with_calibration(store, name, model)
    if not _is_int8(model) or model.calibrated is not None:
        return model
    store.files.require_exclusive()
    key = _key(model)
    with held(context, f"calibration of {name} {key}"):
        model = with_calibration(store, name, model)
        if model.calibrated is not None:  # another process of this machine did it meanwhile
            return model
        context.log(f"{name}: calibrating int8 on pictures of {batch}")
        digest = _quantise(context, model, batch)
        _commit(context, name, key, digest)
        model = with_calibration(store, name, model)
        if model.calibrated != digest:  # a process of another machine was first
            shutil.rmtree(calibrated_folder(store.cache) / digest, ignore_errors=True)
        return model


def bring_here(store: Store, name: str, model: ModelSettings) -> None:
    """Copy the quantised model that `model` names into the cache, where encoders look for it, if it is not there.

    Raises:
        ModelUnavailable: the store does not hold it.
        CorruptFile, MissingFile: what the store holds is damaged.
    """
    digest = model.calibrated
    if not _is_int8(model) or digest is None or is_whole(calibrated_folder(store.cache) / digest, digest):
        return
    found = next((each for each in _calibrations(store, name) if each.digest == digest), None)
    if found is None:
        raise ModelUnavailable(
            f"the calibration {digest[:12]} of the model {name!r} is not in the project's data. Restore the folder "
            f"{store.files.url(folder(name))} from a backup, or raise `calibration` in the settings and run again"
        )
    note = {key: value for key, value in found.contents.items() if key != "files"}
    if keep(calibrated_folder(store.cache), partial(_fetch, store, found), note) != digest:
        raise CorruptFile(f"the calibration {digest[:12]} of the model {name!r} is not what it says; report this")


def folder(name: str) -> str:
    """Where in the store the calibrations of a model lie, each in a folder of its own."""
    return f"models/{name}/calibration"


def calibrations(store: Store, name: str) -> list[Versions]:
    """All calibrations of a model, for whoever reads them raw."""
    return [calibration_chain(store, name, key) for key in store.files.folders(folder(name))]


def read_calibration(versions: Versions) -> Calibration | None:
    """One of them, or None where it was begun and not finished.

    Raises:
        CorruptFile, FormatTooNew: it cannot be used.
    """
    if RECORD not in versions.numbers():
        return None
    inside = versions.folder.removesuffix("manifests")

    def parse(record: Mapping[str, Any]) -> Calibration:
        found = Calibration(record["digest"], record["files"], record["contents"])
        if not all(path.startswith(inside) for path in found.hashes()):
            raise ValueError(f"it names files outside of {inside}")
        return found

    return placed(versions.read(RECORD), versions.path(RECORD), parse, model=inside.split("/")[1])


def _is_int8(model: ModelSettings) -> bool:
    return model.precision == "int8" and model.side == "image"


def _key(model: ModelSettings, download: bool = True) -> str:
    """All that a calibration belongs to: the model's files, how pictures are prepared, and the settings' number."""
    identity = identify(model.model_copy(update={"calibrated": None}), download=download)
    return f"{identity.fp12}-{model.calibration}"


def calibration_chain(store: Store, name: str, key: str) -> Versions:
    """The one version of a calibration."""
    return Versions(store.files, f"{folder(name)}/{key}/manifests", f"calibration {key} of model {name}")


def _calibrations(store: Store, name: str) -> Iterator[Calibration]:
    for versions in calibrations(store, name):
        with suppress(CorruptFile):  # another one may be meant; `verify` tells of this
            found = read_calibration(versions)
            if found is not None:
                yield found


def _quantise(context: StageContext, model: ModelSettings, batch: str) -> str:
    """Make the quantised model in the cache; returns its digest."""
    pictures = sample(context.store, batch, MOST)
    note = {"calibration": model.calibration, "input_hashes": pictures.digest}
    with workshop(context.settings, context.stop) as decoder:
        return quantise_on(
            model,
            pictures.units(),
            decoder.decode,
            context.store.cache,
            note=note,
            check_stop=context.check_stop,
        )


def _commit(context: StageContext, name: str, key: str, digest: str) -> None:
    """Put the quantised model into the store; where another writer was first, his stands."""
    store = context.store
    here = calibrated_folder(store.cache) / digest
    files = {each: f"{folder(name)}/{key}/files/{uuid4().hex}{Path(each).suffix}" for each in FILES}
    for each, path in files.items():
        with (here / each).open("rb") as source, store.files.writing(path) as target:
            shutil.copyfileobj(source, target, CHUNK)
    try:
        _create(context, name, calibration_chain(store, name, key), here, files)
    except CommitConflict:
        for path in files.values():
            with suppress(OSError):  # what cannot be removed now is nobody's
                store.files.delete(path)


def _create(context: StageContext, name: str, versions: Versions, here: Path, files: Mapping[str, str]) -> None:
    record = {
        "model": name,
        "digest": here.name,
        "files": files,
        "contents": read_contents(here),
        "created_at": now().isoformat(),
        "run_id": context.run_id,
    }
    versions.create(RECORD, record)


def commit_record(context: StageContext, name: str, versions: Versions, here: Path) -> None:
    """Create the record of a calibration anew, of the files that lie in the store and those in the cache, `here`.

    Raises:
        CorruptFile: one of them is not in the store.
    """
    store, contents = context.store, read_contents(here)
    inside = f"{versions.folder.removesuffix('manifests')}files"
    files = {}
    for each in FILES:
        stored = (f"{inside}/{name}" for name in store.files.names(inside) if Path(name).suffix == Path(each).suffix)
        for path in stored:
            with suppress(CorruptFile):
                store.checked.check(path, contents["files"][each], again=True)
                files[each] = path
        if each not in files:
            raise CorruptFile(f"{store.files.url(inside)} has no {each} of the calibration {here.name[:12]}")
    _create(context, name, versions, here, files)


def _fetch(store: Store, calibration: Calibration, target: Path) -> None:
    """Copy the files of a calibration into a folder, each proven to be what was committed."""
    for name, sha256 in calibration.contents["files"].items():
        with store.checked.open(calibration.files[name], sha256) as source, (target / name).open("wb") as copy:
            shutil.copyfileobj(source, copy, CHUNK)
