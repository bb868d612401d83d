"""Everything there is after a run that ended well, held against the plain model of what there has to be.

The sources of the settings only: what one that was taken out left behind stays as it was until it is forgotten.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from embeddings_dagster import ids
from embeddings_dagster.catalog import Catalogue, Filter
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Generation, Generations
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.identities import identity
from embeddings_dagster.stages.models import serving
from embeddings_dagster.stages.opened import model_settings
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import Store
from embeddings_dagster_tests.torture.audit import NOISE, index_rows
from embeddings_dagster_tests.torture.expected import Entry, Part, shown
from embeddings_dagster_tests.torture.golden import Golden
from embeddings_dagster_tests.torture.violation import require, same

TEXT = "_text"

Rows = dict[tuple[str, Key], dict[str, Any]]  # by batch and key


class Reckoning:
    """A store, and the entries it has to be made of."""

    def __init__(self, settings: Settings, store: Store, entries: list[Entry], golden: Golden) -> None:
        self._settings, self._store, self._entries, self._golden = settings, store, entries, golden

    def everything(self, report: dict[str, Any]) -> None:
        """`report`: what `embeddings run --json` said. Raises Violation."""
        self._report(report)
        raw = self._rows("raw_images", ["image_id", "sha256"])
        self._raw(raw)
        self._failures("raw_images", (Key(entry.image_id, 0) for entry in self._entries if not entry.opens))
        self._rgb(self._rows("rgb_images", ["image_id", "region", "text"]))
        self._failures("rgb_images", (key for entry in self._entries for key in entry.failed()))
        for model in self._settings.spaces:
            rows = self._embeddings(model)
            self._vectors(model, rows)
            self._index(model, rows)
        self._catalogue()
        problems = verify(self._store)
        require(problems == [], f"verify finds {problems[:5]}")

    def _report(self, report: dict[str, Any]) -> None:
        """The run's own account is that of the inputs."""
        require(report["problems"] == [], f"the run has problems: {report['problems']}")
        listed = Counter(entry.source for entry in self._entries)
        failing = Counter(entry.source for entry in self._entries if entry.fails)
        for said in report["sources"]:
            name, total, failed = said["source"], said["total"], said["failed"]
            require(said["undone"] == 0, f"{name}: {said['undone']} undone")
            require(total == said["processed"] + said["skipped"] + failed, f"{name}: counts do not add up: {said}")
            require(total == listed[name], f"{name}: the run accounts for {total} inputs, there are {listed[name]}")
            require(failed == failing[name], f"{name}: the run says {failed} failed, {failing[name]} do")

    def _rows(self, dataset: str, columns: list[str]) -> Rows:
        """The rows of the newest complete versions."""
        rows: Rows = {}
        for batch in self._batches(dataset):
            chain = self._store.chain(dataset, batch)
            manifest = chain.latest()
            if manifest is None:
                continue
            counts = manifest.counts
            require(counts.total == counts.ok + counts.failed, f"{chain.folder}: {counts}")
            for row in chain.rows(manifest, columns).to_pylist():
                key = Key(row["image_id"], row.get("region", 0))
                require((batch, key) not in rows, f"{chain.folder}: {key} is there twice")
                rows[batch, key] = row
        return rows

    def _batches(self, dataset: str) -> list[str]:
        return [each for each in self._store.batches(dataset) if ids.source_of(each) in self._settings.sources]

    def _raw(self, rows: Rows) -> None:
        found = ((key.image_id, own_batch(batch), row["sha256"]) for (batch, key), row in rows.items())
        wanted = (
            (entry.image_id, entry.batch, hashlib.sha256(entry.data or b"").hexdigest())
            for entry in self._entries
            if entry.opens
        )
        same(found, wanted, "raw_images")

    def _rgb(self, rows: Rows) -> None:
        found = ((key, own_batch(batch), row["text"]) for (batch, key), row in rows.items())
        wanted = ((key, entry.batch, part.text) for entry in self._entries for key, part in entry.rows().items())
        same(found, wanted, "rgb_images")

    def _failures(self, dataset: str, wanted: Iterable[Key]) -> None:
        found = set()
        for batch in self._batches(dataset):
            chain = self._store.chain(dataset, batch)
            manifest = chain.latest()
            if manifest is not None:
                found |= {Key(failure.image_id, failure.region) for failure in chain.failures(manifest)}
        same(found, set(wanted), f"failures of {dataset}")

    def _fp12(self, model: str) -> str:
        return identity(self._store, model, model_settings(self._settings, model)).fp12

    def _embeddings(self, model: str) -> Rows:
        dataset = f"embeddings/{model}/{self._fp12(model)}"
        rows = self._rows(dataset, ["image_id", "region", "embedding"])
        wanted = ((key, entry.batch) for entry in self._entries for key in _encoded(model, entry))
        same(((key, own_batch(batch)) for batch, key in rows), wanted, f"embeddings of {model}")
        self._failures(dataset, ())
        return rows

    def _vectors(self, model: str, rows: Rows) -> None:
        """Equal to those of an undisturbed encoder."""
        entries = {(entry.image_id, entry.batch): entry for entry in self._entries}
        regions: dict[tuple[str, str | None], list[tuple[Key, Any]]] = {}
        for (batch, key), row in rows.items():
            regions.setdefault((key.image_id, own_batch(batch)), []).append((key, row["embedding"]))
        for place, stored in regions.items():
            parts = [entries[place].parts[key.region] for key, _ in stored]
            for (key, vector), wanted in zip(stored, self._undisturbed(model, entries[place], parts), strict=True):
                off = float(np.abs(np.asarray(vector, np.float32) - wanted).max())
                require(off < NOISE, f"{model}: the vector of {key} in {place[1]} is {off:.2g} off an undisturbed one")

    def _undisturbed(self, model: str, entry: Entry, parts: list[Part]) -> list[np.ndarray]:
        if model.endswith(TEXT):
            name = model.removesuffix(TEXT)
            return [self._golden.text(self._settings, name, part.text or "") for part in parts]
        return self._golden.picture(self._settings, model, entry.data or b"", parts)

    def _index(self, model: str, rows: Rows) -> None:
        """Exactly the live rows: of each image those of the newest batch that has it, with their very vectors."""
        fp12, record = self._fp12(model), serving(self._store, model)
        require(record is not None and record.fp12 == fp12, f"{model}: {record and record.fp12} serves, not {fp12}")
        generations = Generations(self._store, model, fp12)
        manifest = generations.latest()
        indexed = index_rows(generations, manifest) if manifest else {}
        indexed = {key: batch for key, batch in indexed.items() if ids.parse_image_id(key.image_id)[0]
                   in self._settings.sources}  # fmt: skip
        best = shown([entry for entry in self._entries if _encoded(model, entry)])
        live = [(key, batch) for batch, key in rows if own_batch(batch) in (None, best[key.image_id].batch)]
        same(indexed.items(), live, f"{model}_index")
        if not indexed or manifest is None:
            return
        keys = sorted(indexed)
        vectors, there = Generation.open(generations, manifest).vectors(keys)
        require(bool(there.all()), f"{model}_index has rows without vectors")
        stored = np.array([rows[indexed[key], key]["embedding"] for key in keys], np.float32)
        off = float(np.abs(vectors - stored).max())
        require(off < NOISE, f"{model}_index: a vector is {off:.2g} off the one that is stored")

    def _catalogue(self) -> None:
        """The records of live images, by the newest batch that has each."""
        best = shown([entry for entry in self._entries if entry.opens])
        with Catalogue(self._store).open() as snapshot:
            records = snapshot.find(Filter(regions="all"), limit=10_000)
        found = (
            (each.key, own_batch(each.batch), each.text, each.title, each.metadata.get("price"))
            for each in records
            if each.source in self._settings.sources
        )
        wanted = (
            (Key(image_id, number), entry.batch, part.text, entry.title, entry.price)
            for image_id, entry in best.items()
            for number, part in entry.parts.items()
            if part.usable
        )
        same(found, wanted, "search_catalog")


def _encoded(model: str, entry: Entry) -> list[Key]:
    """The regions of an entry that a model has vectors of."""
    return [key for key, part in entry.rows().items() if part.text or not model.endswith(TEXT)]


def own_batch(batch: str) -> str | None:
    """The batch, where its source says which one a picture is in and the model knows it."""
    return batch if batch.startswith("fashion__") else None
