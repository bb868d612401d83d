"""The registries and calibrations of models, verified: chains, files, and fingerprints that an index is of."""

from collections.abc import Collection, Iterator

from embeddings_dagster.errors import StorageUnavailable, StoreError
from embeddings_dagster.index import Generations
from embeddings_dagster.stages.calibration import RECORD, Calibration, calibrations, folder, read_calibration
from embeddings_dagster.stages.models import read_version, records, registry
from embeddings_dagster.store import Problem, Store
from embeddings_dagster.store.checked import told
from embeddings_dagster.store.linked import chained
from embeddings_dagster.store.verify import ALL, SUPERSEDED

DATASET = "models"
REREGISTER = "`embeddings verify --repair` registers the models of the settings anew; or restore it from a backup"
RECALIBRATE = (
    "`embeddings verify --repair` puts it back where this machine's cache still holds it; else restore it from a "
    "backup, or raise `calibration` of the model in the settings and run again"
)


def model_problems(store: Store) -> list[Problem]:
    """Everything that is wrong with what the store keeps of models."""
    found: list[Problem] = []
    for model in store.files.folders("models"):
        found += _registry_problems(store, model)
        whole = set()
        for versions in calibrations(store, model):
            try:
                calibration = read_calibration(versions)
            except StorageUnavailable:  # out of reach is not damaged
                raise
            except (StoreError, OSError) as error:
                found.append(Problem(DATASET, model, versions.path(RECORD), ALL, told(error), RECALIBRATE))
                continue
            if calibration is not None:
                whole.add(calibration.digest)
                found += _file_problems(store, model, calibration)
        found += _lost_calibrations(store, model, whole)
    for model in store.files.folders("indexes"):
        found += _unregistered(store, model)
    return found


def _registry_problems(store: Store, model: str) -> Iterator[Problem]:
    versions = registry(store, model)
    newest = max(versions.numbers(), default=0)
    for fault in chained(versions, lambda number: read_version(store, model, number)).faults:
        needed = fault.number >= newest
        remedy = REREGISTER if needed else SUPERSEDED
        yield Problem(DATASET, model, fault.path, ALL if needed else "", fault.reason, remedy)


def _unregistered(store: Store, model: str) -> Iterator[Problem]:
    """An index is made of a fingerprint that is registered with it: what is not there has been lost."""
    versions = registry(store, model)
    newest = max(versions.numbers(), default=0)
    try:
        known = {record.fp12 for record in records(store, model)}
    except (StoreError, OSError):
        return  # told already
    for fp12 in store.files.folders(f"indexes/{model}"):
        if fp12 not in known and Generations(store, model, fp12).numbers():
            reason = f"there is an index of the fingerprint {fp12}, which version {newest} does not know"
            yield Problem(DATASET, model, versions.path(newest + 1), ALL, reason, REREGISTER)


def _file_problems(store: Store, model: str, calibration: Calibration) -> Iterator[Problem]:
    for path, sha256 in calibration.hashes().items():
        try:
            store.checked.check(path, sha256, again=True)
        except StorageUnavailable:  # out of reach is not damaged
            raise
        except (StoreError, OSError) as error:
            yield Problem(DATASET, model, path, "", told(error), RECALIBRATE)


def _lost_calibrations(store: Store, model: str, whole: Collection[str]) -> Iterator[Problem]:
    """A model that was registered with a calibration needs it to be loaded again."""
    try:
        named = {each.settings.get("calibrated") for each in records(store, model)} - {None}
    except (StoreError, OSError):
        return  # told already
    without = [each for each in calibrations(store, model) if RECORD not in each.numbers()]
    for digest in sorted(map(str, named - set(whole))):
        reason = f"the calibration {digest[:12]}, with which the model is registered, is not there"
        for versions in without:
            yield Problem(DATASET, model, versions.path(RECORD), ALL, reason, RECALIBRATE)
        if not without and not any(RECORD in each.numbers() for each in calibrations(store, model)):
            yield Problem(DATASET, model, folder(model), ALL, reason, RECALIBRATE)
