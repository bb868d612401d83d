"""What is looked at: by any reader right after a kill, and, after a run that ended well, everything there is.

Every look opens the store anew, as another process would. What is not as it should be is a `Violation`.
"""

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import numpy as np

from embeddings_dagster import ids
from embeddings_dagster.catalog import Catalogue, Filter
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Generation, GenerationManifest, Generations, read_rows
from embeddings_dagster.settings import Settings, load_settings
from embeddings_dagster.stages.identities import identity
from embeddings_dagster.stages.models import serving
from embeddings_dagster.stages.opened import model_settings
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import Chain, Manifest, Store
from embeddings_dagster_tests.torture.expected import Entry, Part, shown
from embeddings_dagster_tests.torture.golden import Golden

NOISE = 1e-4  # of a vector's numbers: batches of other sizes add up in another order
TEXT = "_text"

Rows = dict[tuple[str, Key], dict[str, object]]


class Violation(AssertionError):
    """Something was lost, or is wrong."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)


def same(found: Iterable[object], wanted: Iterable[object], what: str) -> None:
    """Both hold the same things, equally often."""
    found, wanted = Counter(found), Counter(wanted)
    if found != wanted:
        extra, missing = (sorted(map(str, each.elements()))[:6] for each in (found - wanted, wanted - found))
        raise Violation(f"{what}: there are {extra} too many, {missing} are missing")


@dataclass(frozen=True)
class Held:
    """What was committed at some moment: the newest complete version of each chain, and of each index, registry and so
    on. `raw`: the sha256 of each picture by its batch."""

    versions: dict[tuple[str, str], int]
    raw: dict[tuple[str, str], str]


@dataclass
class Audit:
    """Looks at the project below `root`."""

    root: Path
    golden: Golden
    checks: Counter[str] = field(default_factory=Counter)

    def open(self) -> tuple[Settings, Store]:
        settings = load_settings(self.root / "embeddings.yaml")
        return settings, Store.open(settings.data_root, settings.cache_root)

    # ---- after a kill

    def held(self) -> Held:
        """What is committed now; that it can be read at all is part of the promise."""
        _, store = self.open()
        versions, raw = {}, {}
        for dataset in store.datasets():
            for batch in store.batches(dataset):
                manifest = store.chain(dataset, batch).latest()
                if manifest is not None:
                    versions[dataset, batch] = manifest.version
                    if dataset == "raw_images":
                        table = store.chain(dataset, batch).rows(manifest, ["image_id", "sha256"])
                        for image_id, sha256 in zip(*(each.to_pylist() for each in table.columns), strict=True):
                            raw[batch, image_id] = sha256
        for source in store.sources():
            ledger = store.ledger(source).latest()
            versions["sources", source] = ledger.version if ledger else 0
        for model in store.files.folders("indexes"):
            for fp12 in store.files.folders(f"indexes/{model}"):
                newest = Generations(store, model, fp12).latest()
                versions[f"indexes/{model}", fp12] = newest.version if newest else 0
        catalogue = Catalogue(store).latest()
        versions["catalog", ""] = catalogue.version if catalogue else 0
        return Held(versions, raw)

    def after_kill(self, before: Held, settled: dict[str, list[Entry]], entries: list[Entry], *, deep: bool) -> Held:
        """The old state or the new one, whole, of everything; and nothing gone whose input is as it was.

        `settled`: what was there, by image, when everything was last seen to be right; `entries`: what there is now.
        """
        _, store = self.open()
        problems = verify(store) if deep else store.verify(deep=False)
        require(problems == [], f"verify finds {problems[:5]}")
        self.checks["verify, every byte" if deep else "verify, sizes"] += 1
        now = self.held()
        gone = {chain for chain in before.versions.keys() - now.versions.keys() if "old" not in "".join(chain)}
        back = {chain: (before.versions[chain], number) for chain, number in now.versions.items()
                if number < before.versions.get(chain, 0) and "old" not in "".join(chain)}  # fmt: skip
        gone = {chain for chain in gone if not _is_emptied(chain, entries)}
        require(not gone and not back, f"committed versions are gone: {sorted(gone)}, {back}")
        by_image = grouped(entries)
        for image_id, before_entries in settled.items():
            if before_entries == by_image.get(image_id) and not image_id.startswith("old:"):
                self._require_kept(store, now, image_id, before_entries)
        self.checks["rows of unchanged inputs"] += 1
        self.one_generation(store)
        return now

    def _require_kept(self, store: Store, now: Held, image_id: str, entries: list[Entry]) -> None:
        batches = {entry.batch for entry in entries if entry.opens}
        if not batches:
            return
        found = {batch for batch, each in now.raw if each == image_id}
        if None in batches:
            require(len(found) == 1, f"{image_id}, which did not change, is in batches {sorted(found)}")
        else:
            require(batches <= found, f"{image_id}, which did not change, is gone from {batches - found}")

    def one_generation(self, store: Store) -> None:
        """What search reads is one generation: a row once, and each found by its own vector."""
        for model in store.files.folders("models"):
            record = serving(store, model)
            generations = Generations(store, model, record.fp12) if record else None
            manifest = generations.latest() if generations else None
            if generations is None or manifest is None:
                continue
            opened = Generation.open(generations, manifest)
            rows = index_rows(generations, manifest)
            require(manifest.rows == len(rows), f"{model}: generation {manifest.version} counts {manifest.rows} rows, "
                    f"its segments {len(rows)}")  # fmt: skip
            whole = [key for key in rows if key.region == 0]
            if whole:
                vectors, there = opened.vectors(whole)
                require(bool(there.all()), f"{model}: a row has no vector")
                hits = opened.search(vectors[0], len(whole) + 5)
                same((Key(hit.image_id, hit.region) for hit in hits), whole, f"{model}: a search for everything")
                best = max(float(vector @ vectors[0]) for vector in vectors)
                require(abs(hits[0].score - best) < NOISE, f"{model}: the best hit has {hits[0].score}, not {best}")
        catalogue = Catalogue(store)
        if catalogue.latest() is not None:
            with catalogue.open() as snapshot:
                snapshot.count()
        self.checks["search, one generation"] += 1

    # ---- after a run that ended well

    def everything(self, report: dict[str, object], entries: list[Entry]) -> None:
        """All that the promise names, against the plain model; `report`: what `embeddings run --json` said."""
        settings, store = self.open()
        sources = set(settings.sources)
        self._report(report, entries)
        raw = self._stage(store, "raw_images", sources, ["image_id", "sha256"])
        self._raw(raw, entries)
        self._failures(store, "raw_images", sources, {(e.image_id, 0) for e in entries if not e.opens}, entries)
        rgb = self._stage(store, "rgb_images", sources, ["image_id", "region", "input_hash", "text"])
        self._rgb(rgb, entries)
        self._failures(store, "rgb_images", sources, {key for e in entries for key in e.failed()}, entries)
        for model in settings.spaces:
            self._model(settings, store, model, sources, rgb, entries)
        self._catalogue(store, raw, sources, entries)
        require((problems := verify(store)) == [], f"verify finds {problems[:5]}")
        self.checks["everything, against the model"] += 1

    def _report(self, report: dict[str, object], entries: list[Entry]) -> None:
        require(report["problems"] == [], f"the run has problems: {report['problems']}")
        listed: Counter[str] = Counter(entry.source for entry in entries)
        failing: Counter[str] = Counter(entry.source for entry in entries if entry.fails)
        for said in report["sources"]:  # type: ignore[attr-defined]
            name, total, failed = said["source"], said["total"], said["failed"]
            require(said["undone"] == 0, f"{name}: {said['undone']} undone")
            require(total == said["processed"] + said["skipped"] + failed, f"{name}: counts do not add up: {said}")
            require(total == listed[name], f"{name}: the run accounts for {total} inputs, there are {listed[name]}")
            require(failed == failing[name], f"{name}: the run says {failed} failed, {failing[name]} do")

    def _stage(self, store: Store, dataset: str, sources: Collection[str], columns: list[str]) -> Rows:
        """The rows of the newest complete versions, by batch and key; the sources of the settings only."""
        rows: Rows = {}
        for batch in store.batches(dataset):
            chain = store.chain(dataset, batch)
            manifest = chain.latest()
            if manifest is None or ids.source_of(batch) not in sources:
                continue
            counts = manifest.counts
            require(counts.total == counts.ok + counts.failed, f"{chain.folder}: {counts}")
            for row in chain.rows(manifest, columns).to_pylist():
                key = Key(row["image_id"], row.get("region", 0))
                require((batch, key) not in rows, f"{chain.folder}: {key} is there twice")
                rows[batch, key] = row
        return rows

    def _raw(self, rows: Rows, entries: list[Entry]) -> None:
        import hashlib

        found = ((key.image_id, batch if batch.startswith("fashion__") else None, row["sha256"])
                 for (batch, key), row in rows.items())  # fmt: skip
        wanted = ((entry.image_id, entry.batch, hashlib.sha256(entry.data or b"").hexdigest())
                  for entry in entries if entry.opens)  # fmt: skip
        same(found, wanted, "raw_images")

    def _rgb(self, rows: Rows, entries: list[Entry]) -> None:
        found = ((key, own_batch(batch), row["text"]) for (batch, key), row in rows.items())
        wanted = ((key, entry.batch, part.text) for entry in entries for key, part in entry.rows().items())
        same(found, wanted, "rgb_images")

    def _failures(
        self, store: Store, dataset: str, sources: Collection[str], wanted: set[Key] | set[tuple[str, int]],
        entries: list[Entry],
    ) -> None:  # fmt: skip
        found = set()
        for batch in store.batches(dataset):
            chain = store.chain(dataset, batch)
            manifest = chain.latest()
            if manifest is not None and ids.source_of(batch) in sources:
                found |= {(failure.image_id, failure.region) for failure in chain.failures(manifest)}
        same(found, {tuple(key) for key in wanted}, f"failures of {dataset}")

    def _model(
        self, settings: Settings, store: Store, model: str, sources: Collection[str], rgb: Rows, entries: list[Entry]
    ) -> None:
        found = identity(store, model, model_settings(settings, model))
        texts = model.endswith(TEXT)
        rows = self._stage(store, f"embeddings/{model}/{found.fp12}", sources, ["image_id", "region", "embedding"])
        wanted = [(key, entry.batch) for entry in entries for key, part in entry.rows().items() if part.text or not texts]
        same(((key, own_batch(batch)) for batch, key in rows), wanted, f"embeddings of {model}")
        self._failures(store, f"embeddings/{model}/{found.fp12}", sources, set(), entries)
        self._vectors(settings, model, rows, entries)
        record = serving(store, model)
        require(record is not None and record.fp12 == found.fp12, f"{model}: {record and record.fp12} serves, and not "
                f"{found.fp12}")  # fmt: skip
        generations = Generations(store, model, found.fp12)
        manifest = generations.latest()
        require(manifest is not None or not rows, f"{model} has no index")
        if manifest is None:
            return
        indexed = {key: batch for key, batch in index_rows(generations, manifest).items() if key.image_id.partition(":")[0] in sources}
        best = shown([entry for entry in entries if any(part.text or not texts for part in entry.rows().values())])
        live = {
            key: own_batch(batch) for (batch, key) in rows if own_batch(batch) in (None, best[key.image_id].batch)
        }
        same(((key, own_batch(batch)) for key, batch in indexed.items()), live.items(), f"{model}_index")
        keys = sorted(indexed)
        if keys:
            vectors, there = Generation.open(generations, manifest).vectors(keys)
            require(bool(there.all()), f"{model}_index has rows without vectors")
            for key, vector in zip(keys, vectors, strict=True):
                stored = np.asarray(rows[indexed[key], key]["embedding"], np.float32)
                require(float(np.abs(vector - stored).max()) < NOISE, f"{model}_index: {key} has another vector")

    def _vectors(self, settings: Settings, model: str, rows: Rows, entries: list[Entry]) -> None:
        """Equal to those of an undisturbed encoder."""
        by_place = {(entry.image_id, entry.batch): entry for entry in entries}
        by_image: dict[tuple[str, str | None], list[tuple[Key, dict[str, object]]]] = {}
        for (batch, key), row in rows.items():
            by_image.setdefault((key.image_id, own_batch(batch)), []).append((key, row))
        for place, regions in by_image.items():
            entry = by_place[place]
            parts = [entry.parts[key.region] for key, _ in regions]
            for (key, row), wanted in zip(regions, self._golden(settings, model, entry, parts), strict=True):
                stored = np.asarray(row["embedding"], np.float32)
                off = float(np.abs(stored - wanted).max())
                require(off < NOISE, f"{model}: the vector of {key} in {place[1]} is {off:.2g} off an undisturbed one")

    def _golden(self, settings: Settings, model: str, entry: Entry, parts: list[Part]) -> list[np.ndarray]:
        if model.endswith(TEXT):
            return [self.golden.text(settings, model.removesuffix(TEXT), part.text or "") for part in parts]
        return self.golden.picture(settings, model, entry.data or b"", parts)

    def _catalogue(self, store: Store, raw: Rows, sources: Collection[str], entries: list[Entry]) -> None:
        best = shown([entry for entry in entries if entry.opens])
        with Catalogue(store).open() as snapshot:
            records = [each for each in snapshot.find(Filter(regions="all"), limit=10_000) if each.source in sources]
        wanted = [
            (Key(image_id, number), entry.batch, part.text, entry.title, entry.price)
            for image_id, entry in best.items()
            for number, part in entry.parts.items()
            if part.usable
        ]
        found = [(each.key, own_batch(each.batch), each.text, each.title, each.metadata.get("price")) for each in records]
        same(found, wanted, "search_catalog")

    # ---- Dagster

    def history(self, report: dict[str, object]) -> None:
        """No slot is held, no run is unfinished, and what Dagster says of each batch is what is there."""
        settings, store = self.open()
        with dg.DagsterInstance.from_config(str(self.root / ".dagster")) as instance:
            for pool in instance.event_log_storage.get_concurrency_keys():
                claimed = instance.event_log_storage.get_concurrency_info(pool).claimed_slots
                require(not claimed, f"pool {pool} has slots of {claimed}")
            unfinished = [(run.run_id, run.status) for run in instance.get_runs() if not run.is_finished]
            require(not unfinished, f"unfinished: {unfinished}")
            known = set(instance.get_dynamic_partitions("image_batches"))
            for model in ("", *settings.spaces):
                for dataset in (("raw_images", "rgb_images") if not model else (self._dataset(settings, store, model),)):
                    asset = f"{model}_embeddings" if model else dataset
                    self._told(instance, store, dataset, asset, known, set(settings.sources))
        self.checks["Dagster: runs, slots, counts"] += 1

    def _dataset(self, settings: Settings, store: Store, model: str) -> str:
        return f"embeddings/{model}/{identity(store, model, model_settings(settings, model)).fp12}"

    def _told(
        self, instance: dg.DagsterInstance, store: Store, dataset: str, asset: str, known: set[str], sources: set[str]
    ) -> None:
        for batch in store.batches(dataset):
            manifest = store.chain(dataset, batch).latest()
            if manifest is None or ids.source_of(batch) not in sources:
                continue
            if not manifest.counts.total and batch not in known:
                continue  # emptied, and its key is dropped
            require(batch in known, f"{batch} has rows, and is no partition")
            told = instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[batch]), limit=1
            ).records
            require(bool(told), f"Dagster was never told of {dataset} {batch} version {manifest.version}")
            event = told[0].asset_materialization
            assert event is not None
            said = {name: value.value for name, value in event.metadata.items() if name in ("total", "failed", "content")}
            is_so = {"total": manifest.counts.total, "failed": manifest.counts.failed, "content": manifest.content}
            require(said == is_so, f"{asset} {batch}: Dagster was told {said}, and it is {is_so}")

    # ---- what is left behind

    def forgotten(self) -> None:
        """Nothing of the source `old` is left."""
        _, store = self.open()
        require("old" not in store.sources(), "the ledger of `old` is still there")
        for dataset in store.datasets():
            left = [batch for batch in store.batches(dataset) if ids.source_of(batch) == "old"]
            require(not left, f"{dataset} still has {left}")
        for model in store.files.folders("models"):
            record = serving(store, model)
            generations = Generations(store, model, record.fp12) if record else None
            manifest = generations.latest() if generations else None
            if generations and manifest:
                left = [key for key in index_rows(generations, manifest) if key.image_id.startswith("old:")]
                require(not left, f"{model}_index still has {left[:3]}")

    def litter(self) -> list[str]:
        """Files that no version of anything names."""
        _, store = self.open()
        named = set(_named(store))
        found = []
        root = Path(store.root)
        for path in root.rglob("*"):
            relative = path.relative_to(root).as_posix()
            if path.is_file() and relative.split("/")[0] not in ("cache", "image_cache", "exports"):
                if relative not in named:
                    found.append(relative)
        return found


def grouped(entries: list[Entry]) -> dict[str, list[Entry]]:
    """Entries by image, in the order of their batches."""
    found: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda each: (each.image_id, each.batch or "")):
        found.setdefault(entry.image_id, []).append(entry)
    return found


def own_batch(batch: str) -> str | None:
    """The batch, where its source says which one a picture is in and the model knows it."""
    return batch if batch.startswith("fashion__") else None


def _is_emptied(chain: tuple[str, str], entries: list[Entry]) -> bool:
    return False


def index_rows(generations: Generations, manifest: GenerationManifest) -> dict[Key, str]:
    """The live rows of a generation and the batch of each."""
    found: dict[Key, str] = {}
    for entry in manifest.segments:
        table, live = read_rows(generations.store, generations.folder, entry, ("image_id", "region", "batch"))
        for row, lives in zip(table.to_pylist(), np.asarray(live), strict=True):
            if lives:
                key = Key(row["image_id"], row["region"])
                require(key not in found, f"{generations.folder}: {key} is there twice")
                found[key] = row["batch"]
    return found


def _named(store: Store) -> Iterator[str]:
    """Every path that some version names, and every version."""
    for dataset in store.datasets():
        for batch in store.batches(dataset):
            yield from _of_chain(store.chain(dataset, batch))
    root = Path(store.root)
    for manifest in root.glob("**/manifests/*.json"):
        relative = manifest.relative_to(root)
        if relative.parts[0] not in ("cache", "exports", "image_cache"):
            yield relative.as_posix()
            folder = relative.parent.parent.as_posix()
            for name in _files_in(json.loads(manifest.read_bytes())):
                yield f"{folder}/{name}"


def _of_chain(chain: Chain) -> Iterator[str]:
    for number in chain.versions.numbers():
        manifest: Manifest = chain.get(number)
        for part in manifest.parts:
            yield chain.path(part.file)
        if manifest.failures:
            yield chain.path(manifest.failures.file)


def _files_in(value: object) -> Iterator[str]:
    """Every text in a document that may be the name of a file; of a segment, all that its folder holds."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "uuid":
                for file in ("index.faiss", "vectors.npy", "rows.parquet", "copies.npy"):
                    yield f"segments/{each}/{file}"
            yield from _files_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from _files_in(each)
    elif isinstance(value, str) and "." in value:
        yield value


def processes_of(session: int) -> list[int]:
    """The processes of a session that are still running; the dead who wait to be buried are not."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(name))
    return found
