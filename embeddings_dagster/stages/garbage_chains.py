"""Every version chain of a store, found by the files there are, and read as far as `gc` must know it."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from embeddings_dagster.catalog import Catalogue
from embeddings_dagster.errors import EmbeddingsError, StoreError
from embeddings_dagster.index import Generations
from embeddings_dagster.stages.analysis_files import ROOT as ANALYSES
from embeddings_dagster.stages.analysis_files import Analysis
from embeddings_dagster.stages.calibration import calibration_chain, read_calibration
from embeddings_dagster.stages.catalog_rows import DATASET as RECORDS
from embeddings_dagster.stages.garbage_plan import Input, Listing, Version
from embeddings_dagster.stages.models import registry
from embeddings_dagster.store import Consumed, Stat, Store, Versions
from embeddings_dagster.store.litter import INSIDE
from embeddings_dagster.store.versions import NAME as MANIFEST

# What was made from others comes before what it was made from.
TOPS = ("analysis", "catalog", "indexes", "models", "embeddings", "rgb_images", "raw_images", "sources")
NAME = re.compile(r"(?!\.+$)[A-Za-z0-9_.-]+")


class Unreadable(StoreError):
    """A manifest cannot be read, so that nobody knows which files its chain needs."""


@dataclass(frozen=True)
class ChainOf:
    """A version chain: where it lies, the lock that its writers hold, and how one of its versions is read."""

    folder: str
    lock: str
    versions: Versions
    read: Callable[[int], Version]

    def look(self, listing: Listing) -> list[Version]:
        """The versions that are listed, oldest first.

        Raises:
            Unreadable: one is damaged, of a newer release, or of another kind.
        """
        numbers = [int(match[1]) for path in listing if (match := self._number(path))]
        found = []
        for number in sorted(numbers):
            try:
                found.append(self.read(number))
            except (EmbeddingsError, OSError, KeyError, TypeError, ValueError) as error:
                said = (
                    str(error)
                    if isinstance(error, EmbeddingsError | OSError)
                    else f"it says something else ({error!r})"
                )
                raise Unreadable(f"{self.versions.path(number)} cannot be used: {said}") from error
        return found

    def _number(self, path: str) -> re.Match[str] | None:
        folder, _, name = path.rpartition("/")
        return MANIFEST.fullmatch(name) if folder == self.versions.folder else None


def listed(store: Store, top: str) -> dict[str, dict[str, Stat]]:
    """The files of every chain below a folder, by the chain's folder."""
    found: dict[str, dict[str, Stat]] = defaultdict(dict)
    for path, stat in store.files.walk(top):
        if match := INSIDE.fullmatch(path):
            found[match["folder"]][path] = stat
    return found


def chain_of(store: Store, folder: str) -> ChainOf | None:
    """The chain in a folder; None: none of ours lies there."""
    names = folder.split("/")
    if not all(map(NAME.fullmatch, names)):
        return None
    match names:
        case ["sources", source]:
            return _ledger(store, folder, source)
        case ["raw_images" | "rgb_images" as dataset, batch]:
            return _batch(store, dataset, batch)
        case ["embeddings", model, fingerprint, batch]:
            return _batch(store, f"embeddings/{model}/{fingerprint}", batch)
        case ["indexes", model, fingerprint]:
            return _index(Generations(store, model, fingerprint))
        case ["catalog"]:
            return _catalogue(Catalogue(store))
        case [top, *rest] if top == ANALYSES and rest:
            return _analysis(Analysis(store, "/".join(rest)))
        case ["models", model]:
            return _registry(folder, registry(store, model))
        case ["models", model, "calibration", key]:
            return _calibration(folder, calibration_chain(store, model, key), f"calibration of {model} {key}")
    return None


def _batch(store: Store, dataset: str, batch: str) -> ChainOf:
    chain = store.chain(dataset, batch)

    def read(number: int) -> Version:
        manifest = chain.get(number)
        inputs = {
            _folder(name): Input(version, str(used.get("content")))
            for name, used in manifest.inputs.items()
            if isinstance(version := used.get("version"), int)
        }
        path, files = chain.versions.path(number), frozenset(chain.referenced(manifest))
        return Version(number, path, manifest.complete, files, frozenset([manifest.content]), inputs)

    return ChainOf(chain.folder, chain.folder, chain.versions, read)


def _folder(name: str) -> str:
    """The folder of an input: that of a ledger's batch is the ledger's."""
    return "/".join(name.split("/")[:2]) if name.startswith("sources/") else name


def _ledger(store: Store, folder: str, source: str) -> ChainOf:
    ledger = store.ledger(source)

    def read(number: int) -> Version:
        batches = ledger.get(number).batches.values()
        files, states = (
            frozenset(ledger.path(batch.file) for batch in batches),
            (batch.source_state for batch in batches),
        )
        return Version(number, ledger.versions.path(number), True, files, frozenset(states))

    return ChainOf(folder, folder, ledger.versions, read)


def _index(generations: Generations) -> ChainOf:
    dataset = f"embeddings/{generations.model}/{generations.fp12}"

    def read(number: int) -> Version:
        manifest = generations.get(number)
        path, files = generations.versions.path(number), frozenset(generations.referenced(manifest))
        return Version(number, path, True, files, inputs=_consumed(dataset, manifest.consumed))

    return ChainOf(generations.folder, generations.folder, generations.versions, read)


def _catalogue(catalogue: Catalogue) -> ChainOf:
    def read(number: int) -> Version:
        manifest = catalogue.get(number)
        path, files = catalogue.versions.path(number), frozenset(catalogue.referenced(manifest))
        return Version(number, path, True, files, inputs=_consumed(RECORDS, manifest.consumed))

    return ChainOf(catalogue.folder, catalogue.folder, catalogue.versions, read)


def _consumed(dataset: str, consumed: Mapping[str, Consumed]) -> dict[str, Input]:
    return {f"{dataset}/{batch}": Input(state.version, state.content) for batch, state in consumed.items()}


def _analysis(analysis: Analysis) -> ChainOf:
    def read(number: int) -> Version:
        manifest = analysis.get(number)
        return Version(number, analysis.versions.path(number), True, frozenset(analysis.referenced(manifest)))

    return ChainOf(analysis.folder, analysis.folder, analysis.versions, read)


def _registry(folder: str, versions: Versions) -> ChainOf:
    def read(number: int) -> Version:
        versions.read(number)
        return Version(number, versions.path(number), True, frozenset())

    return ChainOf(folder, folder, versions, read)


def _calibration(folder: str, versions: Versions, lock: str) -> ChainOf:
    def read(number: int) -> Version:
        calibration = read_calibration(versions)
        files = frozenset(calibration.files.values()) if calibration else frozenset()
        return Version(number, versions.path(number), True, files)

    return ChainOf(folder, lock, versions, read)


def claims(versions: list[Version]) -> Iterator[tuple[str, Input]]:
    """What the newest complete version says of others: that they had such a version."""
    complete = [version for version in versions if version.complete]
    return iter(complete[-1].inputs.items() if complete else ())
