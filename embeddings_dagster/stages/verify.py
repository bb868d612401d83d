"""Is everything committed still what was committed: rows and ledgers (the store's own), indexes, the catalogue,
analyses, registries and calibrations of models; and is nothing gone that something else says there was?

Trusts nothing that is remembered, reports all it finds, and raises for none of it.
"""

from collections.abc import Generator, Iterator, Mapping
from typing import Any, TypeVar

from embeddings_dagster.catalog import Catalogue
from embeddings_dagster.errors import StorageUnavailable, StoreError
from embeddings_dagster.index import GenerationManifest, Generations
from embeddings_dagster.stages.analyses import analyses
from embeddings_dagster.stages.analysis_files import ROOT as ANALYSES
from embeddings_dagster.stages.analysis_files import Analysis
from embeddings_dagster.stages.catalog_rows import DATASET
from embeddings_dagster.stages.verify_consumed import lost_batches
from embeddings_dagster.stages.verify_models import model_problems
from embeddings_dagster.store import Problem, Store
from embeddings_dagster.store.checked import told as in_words
from embeddings_dagster.store.generations import GenerationChain
from embeddings_dagster.store.linked import chained
from embeddings_dagster.store.verify import ALL, REPAIR, SUPERSEDED

FROM_EMBEDDINGS = REPAIR.format("the embeddings")
FROM_RAW = REPAIR.format("raw_images")

Manifest = TypeVar("Manifest", bound=Any)


def verify(store: Store) -> list[Problem]:
    """All that is damaged or missing; empty when everything is as it was committed."""
    found = store.verify()
    for generations in indexes(store):
        found += _index_problems(store, generations)
    found += _catalogue_problems(Catalogue(store))
    for analysis in analyses(store):
        found += _analysis_problems(analysis)
    return found + model_problems(store)


def indexes(store: Store) -> Iterator[Generations]:
    """The index of every fingerprint of every model."""
    for model in store.files.folders("indexes"):
        for fp12 in store.files.folders(f"indexes/{model}"):
            yield Generations(store, model, fp12)


def _index_problems(store: Store, generations: Generations) -> Iterator[Problem]:
    place = ("indexes", generations.model)
    versions = yield from _chain_problems(generations, place, FROM_EMBEDDINGS)
    told = {number: _files_of_index(generations, manifest) for number, manifest in versions.items()}
    yield from _file_problems(generations, place, told, FROM_EMBEDDINGS)
    if versions:
        dataset = f"embeddings/{generations.model}/{generations.fp12}"
        yield from lost_batches(store, dataset, versions[max(versions)].consumed, f"{generations.model}_index")


def _files_of_index(generations: Generations, manifest: GenerationManifest) -> dict[str, tuple[str, str]]:
    """The sha256 and the rows, in words, of each file of a generation, by path."""
    return {
        generations.path(file): (sha256, f"{segment.rows:,} rows")
        for segment in manifest.segments
        for file, sha256 in segment.hashes().items()
    }


def _catalogue_problems(catalogue: Catalogue) -> Iterator[Problem]:
    place = ("catalog", "")
    versions = yield from _chain_problems(catalogue, place, FROM_RAW)
    told = {
        number: {catalogue.path(each.file): (each.sha256, f"{each.rows:,} rows")} for number, each in versions.items()
    }
    yield from _file_problems(catalogue, place, told, FROM_RAW)
    if versions:
        yield from lost_batches(catalogue.store, DATASET, versions[max(versions)].consumed, "search_catalog")


def _analysis_problems(analysis: Analysis) -> Iterator[Problem]:
    place = (ANALYSES, analysis.name)
    versions = yield from _chain_problems(analysis, place, analysis.remedy)
    told = {
        number: {
            analysis.path(each.file): (each.sha256, f"{each.rows:,} rows" if each.rows else "")
            for each in manifest.files.values()
        }
        for number, manifest in versions.items()
    }
    yield from _file_problems(analysis, place, told, analysis.remedy)


def _chain_problems(
    chain: GenerationChain[Manifest], place: tuple[str, str], remedy: str
) -> Generator[Problem, None, dict[int, Manifest]]:
    """What is wrong with manifests; returns those that can be read."""
    versions, faults = chained(chain.versions, chain.get)
    newest = max(chain.numbers(), default=0)
    for fault in faults:
        needed = fault.number >= newest
        yield Problem(*place, fault.path, ALL if needed else "", fault.reason, remedy if needed else SUPERSEDED)
    return versions


def _file_problems(
    chain: GenerationChain[Any],
    place: tuple[str, str],
    told: Mapping[int, Mapping[str, tuple[str, str]]],
    remedy: str,
) -> Iterator[Problem]:
    """What is wrong with files, `told` of each by generation. Those of older ones may have gone with `gc`."""
    newest = max(told, default=0)
    files = {path: said for number in sorted(told) for path, said in told[number].items()}
    for path, (sha256, rows) in files.items():
        needed = path in told[newest]
        if needed or chain.store.files.stat(path):
            try:
                chain.store.checked.check(path, sha256, again=True)
            except StorageUnavailable:  # out of reach is not damaged
                raise
            except (StoreError, OSError) as error:
                yield Problem(*place, path, rows if needed else "", in_words(error), remedy if needed else SUPERSEDED)
