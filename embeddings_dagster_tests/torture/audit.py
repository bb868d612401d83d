"""What any reader looks at right after a kill: everything is the old state or the new one, and nothing is gone.

Every look opens the store anew, as another process would.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from embeddings_dagster import ids
from embeddings_dagster.catalog import Catalogue
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Generation, GenerationManifest, Generations, read_rows
from embeddings_dagster.settings import Settings, load_settings
from embeddings_dagster.stages.models import serving
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import Store
from embeddings_dagster_tests.torture.expected import Entry
from embeddings_dagster_tests.torture.violation import require, same

NOISE = 1e-4  # of a vector's numbers: batches of other sizes add up in another order
FORGOTTEN = "old"  # the one source that is ever forgotten


@dataclass(frozen=True)
class Held:
    """What was committed at some moment: the number of the newest complete version of each chain, ledger, index and of
    the catalogue; and which pictures each batch of `raw_images` has."""

    versions: dict[tuple[str, str], int]
    raw: set[tuple[str, str]]


@dataclass
class Audit:
    """Looks at the project below `root`; counts in `checks` what it looked at."""

    root: Path
    checks: Counter[str] = field(default_factory=Counter)

    def open(self) -> tuple[Settings, Store]:
        settings = load_settings(self.root / "embeddings.yaml")
        return settings, Store.open(settings.data_root, settings.cache_root)

    def held(self) -> Held:
        """What is committed now; that it can be read at all is part of the promise."""
        _, store = self.open()
        return Held(dict(_versions(store)), set(_pictures(store)))

    def after_kill(self, before: Held, settled: dict[str, list[Entry]], *, deep: bool) -> Held:
        """Compare with what was held before. `settled`: by image, what there is and was at all times since everything
        was last seen to be right."""
        _, store = self.open()
        problems = verify(store) if deep else store.verify(deep=False)
        require(problems == [], f"verify finds {problems[:5]}")
        self.checks["verify, every byte" if deep else "verify, sizes"] += 1
        now = self.held()
        lost = {
            chain: (number, now.versions.get(chain))
            for chain, number in before.versions.items()
            if now.versions.get(chain, 0) < number and ids.source_of(chain[1]) != FORGOTTEN
        }
        require(not lost, f"committed versions are gone: {lost}")
        for image_id, listed in settled.items():
            if listed[0].source != FORGOTTEN:
                _require_kept(now, image_id, listed)
        self.checks["rows of unchanged inputs"] += 1
        self.one_generation(store)
        return now

    def one_generation(self, store: Store) -> None:
        """What search reads is one generation: each row once, and found by its own vector."""
        for model in store.files.folders("models"):
            record = serving(store, model)
            generations = Generations(store, model, record.fp12) if record else None
            manifest = generations.latest() if generations else None
            if generations is not None and manifest is not None:
                _require_whole(generations, manifest)
        if Catalogue(store).latest() is not None:
            with Catalogue(store).open() as snapshot:
                snapshot.count()
        self.checks["search, one generation"] += 1


def _versions(store: Store) -> Iterator[tuple[tuple[str, str], int]]:
    for dataset in store.datasets():
        for batch in store.batches(dataset):
            manifest = store.chain(dataset, batch).latest()
            yield (dataset, batch), manifest.version if manifest else 0
    for source in store.sources():
        ledger = store.ledger(source).latest()
        yield ("sources", source), ledger.version if ledger else 0
    for model in store.files.folders("indexes"):
        for fp12 in store.files.folders(f"indexes/{model}"):
            generation = Generations(store, model, fp12).latest()
            yield (f"indexes/{model}", fp12), generation.version if generation else 0
    catalogue = Catalogue(store).latest()
    yield ("catalog", ""), catalogue.version if catalogue else 0


def _pictures(store: Store) -> Iterator[tuple[str, str]]:
    for batch in store.batches("raw_images"):
        chain = store.chain("raw_images", batch)
        manifest = chain.latest()
        if manifest is not None:
            for image_id in chain.rows(manifest, ["image_id"]).column("image_id").to_pylist():
                yield batch, image_id


def _require_kept(now: Held, image_id: str, listed: list[Entry]) -> None:
    """An image whose input is as it was has its rows, in each batch that lists it."""
    batches = {entry.batch for entry in listed if entry.opens}
    found = {batch for batch, each in now.raw if each == image_id}
    if batches == {None}:
        require(len(found) == 1, f"{image_id}, which did not change, is in batches {sorted(found)}")
    else:
        require(batches <= found, f"{image_id}, which did not change, is gone from {batches - found}")


def _require_whole(generations: Generations, manifest: GenerationManifest) -> None:
    rows, what = index_rows(generations, manifest), f"{generations.model}, generation {manifest.version}"
    require(manifest.rows == len(rows), f"{what}: says {manifest.rows} rows, its segments have {len(rows)}")
    whole = [key for key in rows if key.region == 0]
    if not whole:
        return
    opened = Generation.open(generations, manifest)
    vectors, there = opened.vectors(whole)
    require(bool(there.all()), f"{what}: a row has no vector")
    hits = opened.search(vectors[0], len(whole) + 5)
    same((Key(hit.image_id, hit.region) for hit in hits), whole, f"{what}: a search for everything")
    best = float((vectors @ vectors[0]).max())
    require(abs(hits[0].score - best) < NOISE, f"{what}: the best hit has {hits[0].score}, not {best}")


def index_rows(generations: Generations, manifest: GenerationManifest) -> dict[Key, str]:
    """The live rows of a generation and the batch of each. Raises Violation where one is there twice."""
    found: dict[Key, str] = {}
    for entry in manifest.segments:
        table, live = read_rows(generations.store, generations.folder, entry, ("image_id", "region", "batch"))
        for row, lives in zip(table.to_pylist(), np.asarray(live), strict=True):
            if lives:
                key = Key(row["image_id"], row["region"])
                require(key not in found, f"{generations.folder}: {key} is there twice")
                found[key] = row["batch"]
    return found


def grouped(entries: list[Entry]) -> dict[str, list[Entry]]:
    """Entries by image, in the order of their batches."""
    found: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda each: (each.image_id, each.batch or "")):
        found.setdefault(entry.image_id, []).append(entry)
    return found
