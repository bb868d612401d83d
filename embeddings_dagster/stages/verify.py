"""Is everything committed still what was committed: rows and ledgers (the store's own), indexes, the catalogue,
analyses, registries and calibrations of models.

Trusts nothing that is remembered, reports all it finds, and raises for none of it.
"""

from collections.abc import Iterator

from embeddings_dagster.catalog import Catalogue
from embeddings_dagster.errors import StoreError
from embeddings_dagster.index import Generations
from embeddings_dagster.stages.analyses import analyses
from embeddings_dagster.stages.analysis_files import ROOT as ANALYSES
from embeddings_dagster.stages.analysis_files import Analysis
from embeddings_dagster.stages.calibration import calibrations, read_calibration
from embeddings_dagster.stages.models import registry
from embeddings_dagster.store import Problem, Store, Versions

REMAKE_CATALOGUE = "delete the folder {folder} and run again: the catalogue is made anew from raw_images"
REMAKE = "delete the folder {folder} and run again: the index is made anew from the embeddings"
RESTORE = "restore it from a backup, or delete it and run again"
RECALIBRATE = "restore it from a backup, or raise `calibration` of the model in the settings and run again"


def verify(store: Store) -> list[Problem]:
    """All that is damaged or missing; empty when everything is as it was committed."""
    found = store.verify()
    for model in store.files.folders("indexes"):
        for fp12 in store.files.folders(f"indexes/{model}"):
            found += _index_problems(store, Generations(store, model, fp12))
    found += _catalogue_problems(Catalogue(store))
    for analysis in analyses(store):
        found += _analysis_problems(analysis)
    for model in store.files.folders("models"):
        found += [Problem("models", model, file, reason, RESTORE) for file, reason in _damaged(registry(store, model))]
        found += _calibration_problems(store, model)
    return found


def _index_problems(store: Store, generations: Generations) -> Iterator[Problem]:
    remedy = REMAKE.format(folder=generations.folder)
    damaged = dict(_damaged(generations.versions))
    for path, reason in damaged.items():
        yield Problem("indexes", generations.model, path, reason, remedy)
    hashes: dict[str, str] = {}
    needed: set[str] = set()
    for number in generations.numbers():
        if generations.versions.path(number) not in damaged:
            files = {path: sha for entry in generations.get(number).segments for path, sha in entry.hashes().items()}
            hashes |= files
            needed = set(files)  # those of the newest in the end; older ones may have gone with `gc`
    for file, sha256 in hashes.items():
        path = generations.path(file)
        if file in needed or store.files.stat(path):
            try:
                store.checked.check(path, sha256, again=True)
            except (StoreError, OSError) as error:
                yield Problem("indexes", generations.model, path, str(error), remedy)


def _catalogue_problems(catalogue: Catalogue) -> Iterator[Problem]:
    remedy = REMAKE_CATALOGUE.format(folder=catalogue.folder)
    damaged = dict(_damaged(catalogue.versions))
    for path, reason in damaged.items():
        yield Problem("catalog", "", path, reason, remedy)
    numbers = [number for number in catalogue.numbers() if catalogue.versions.path(number) not in damaged]
    for number in numbers:
        try:
            manifest = catalogue.get(number)
            path = catalogue.path(manifest.file)
            if number == numbers[-1] or catalogue.store.files.stat(path):  # older ones may be on their way out
                catalogue.store.checked.check(path, manifest.sha256, again=True)
        except (StoreError, OSError) as error:
            yield Problem("catalog", "", path, str(error), remedy)


def _analysis_problems(analysis: Analysis) -> Iterator[Problem]:
    damaged = dict(_damaged(analysis.versions))
    for path, reason in damaged.items():
        yield Problem(ANALYSES, analysis.name, path, reason, analysis.remedy)
    numbers = [number for number in analysis.numbers() if analysis.versions.path(number) not in damaged]
    for number in numbers[-1:]:  # older ones may be on their way out
        for path, reason in analysis.faults(analysis.get(number), again=True).items():
            yield Problem(ANALYSES, analysis.name, path, reason, analysis.remedy)


def _calibration_problems(store: Store, model: str) -> Iterator[Problem]:
    for versions in calibrations(store, model):
        damaged = list(_damaged(versions))
        for path, reason in damaged:
            yield Problem("models", model, path, reason, RECALIBRATE)
        calibration = None if damaged else read_calibration(versions)
        for path, sha256 in calibration.hashes().items() if calibration is not None else ():
            try:
                store.checked.check(path, sha256, again=True)
            except (StoreError, OSError) as error:
                yield Problem("models", model, path, str(error), RECALIBRATE)


def _damaged(versions: Versions) -> Iterator[tuple[str, str]]:
    for number in versions.numbers():
        try:
            versions.read(number)
        except (StoreError, OSError) as error:
            yield versions.path(number), str(error)
