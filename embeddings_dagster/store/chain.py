"""The version chain of one dataset's batch, as readers see it.

A reader resolves one manifest and passes it to every call: it sees that state, whole, while newer versions land beside
it. Only a run that resumes looks at incomplete versions (`head`).
"""

import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa

from embeddings_dagster.errors import MissingFile, StoreError
from embeddings_dagster.ids import Key
from embeddings_dagster.store.checked import Checked
from embeddings_dagster.store.files import Files
from embeddings_dagster.store.linked import placed
from embeddings_dagster.store.manifest import Manifest, PartEntry
from embeddings_dagster.store.open_part import DEFAULT_LIMITS, PartLimits
from embeddings_dagster.store.parts import Part
from embeddings_dagster.store.tables import Failure, Table
from embeddings_dagster.store.versions import Versions
from embeddings_dagster.store.writer import Writer

KEY_TYPES = {"image_id": pa.string(), "region": pa.int16(), "input_hash": pa.string()}


class Chain:
    """All versions of one batch of one dataset."""

    def __init__(self, files: Files, checked: Checked, dataset: str, batch: str) -> None:
        self.dataset = dataset
        self.batch = batch
        self.folder = f"{dataset}/{batch}"
        self.store_files = files
        self.checked = checked
        self.versions = Versions(files, f"{self.folder}/manifests", f"{dataset}, batch {batch}")

    def head(self) -> Manifest | None:
        """The highest version, complete or not: for a writer that goes on from it."""
        return self.versions.newest(self.get)

    def latest(self) -> Manifest | None:
        """The highest complete version: for everybody else."""
        return self.versions.newest(self.get, lambda manifest: manifest.complete)

    def get(self, version: int) -> Manifest:
        """One version. Raises MissingFile, CorruptFile, FormatTooNew."""
        url, document = self.store_files.url(self.versions.path(version)), self.versions.read(version)
        place = {"dataset": self.dataset, "batch": self.batch, "version": version}
        return placed(document, url, Manifest.from_document, **place)

    def rows(self, manifest: Manifest, columns: Sequence[str] | None = None) -> pa.Table:
        """The live rows of a version. A version without rows gives the asked columns, empty.

        Raises:
            CorruptFile, MissingFile: a part is not what was committed.
            StoreError: no part has one of the columns.
        """
        tables = [pa.Table.from_batches([batch]) for batch in self.scan(manifest, columns)]
        names = columns if columns is None else list(dict.fromkeys(name.split(".")[0] for name in columns))
        if not tables:
            return pa.table({name: pa.array([], KEY_TYPES.get(name)) for name in names or KEY_TYPES})
        table = pa.concat_tables(tables, promote_options="default")
        if missing := set(names or ()) - set(table.column_names):
            raise StoreError(f"{self.dataset}, batch {self.batch} has no column {', '.join(sorted(missing))}")
        return table if names is None else table.select(names)

    def scan(
        self, manifest: Manifest, columns: Sequence[str] | None = None, keys: Container[Key] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The live rows of a version, a row group at a time, in the order they were added.

        With `keys`, only those rows; row groups without any are not read.
        """
        for entry in manifest.parts:
            try:
                yield from self._scan_part(entry, columns, keys)
            except MissingFile as error:
                self._raise_given_up(manifest, error)
                raise

    def _scan_part(
        self, entry: PartEntry, columns: Sequence[str] | None, keys: Container[Key] | None
    ) -> Iterator[pa.RecordBatch]:
        with self.part(entry.file, entry.sha256) as part:
            wanted = np.ones(entry.rows, dtype=bool)
            wanted[list(entry.dead)] = False
            if keys is not None:
                wanted &= np.fromiter((key in keys for key in part.row_keys()), dtype=bool, count=entry.rows)
            start = 0
            for number, rows in enumerate(part.group_rows()):
                mask = wanted[start : start + rows]
                start += rows
                if mask.any():
                    group = part.read_group(number, columns)
                    yield group if mask.all() else group.filter(pa.array(mask))

    @contextmanager
    def part(self, file: str, sha256: str) -> Iterator[Part]:
        """An open part, its sha256 checked once. Raises CorruptFile, MissingFile."""
        path = self.path(file)
        with self.checked.open(path, sha256) as handle:
            yield Part(handle, self.store_files.url(path))

    def failures(self, manifest: Manifest) -> list[Failure]:
        """The failures of a version, by key."""
        if manifest.failures is None:
            return []
        try:
            with self.part(manifest.failures.file, manifest.failures.sha256) as part:
                return [Failure(**row) for row in part.read().to_pylist()]
        except MissingFile as error:
            self._raise_given_up(manifest, error)
            raise

    def _raise_given_up(self, manifest: Manifest, error: MissingFile) -> None:
        """Say so where a file is missing because the whole version is: it was resolved before `gc` gave it up."""
        if manifest.version not in self.versions.numbers():
            raise MissingFile(
                f"{self.versions.what}: version {manifest.version} was given up for newer ones while it was read, and "
                "files of it are gone. Read the newest."
            ) from error

    def path(self, file: str) -> str:
        """A manifest's file name as a path under the store's root."""
        return f"{self.folder}/{file}"

    def files(self, manifest: Manifest) -> list[str]:
        """The paths of a version's parts. Their dead rows are still in them."""
        return [self.path(part.file) for part in manifest.parts]

    def referenced(self, manifest: Manifest) -> set[str]:
        """Every path a version needs: parts, failures, and itself."""
        failures = [self.path(manifest.failures.file)] if manifest.failures else []
        return {*self.files(manifest), *failures, self.versions.path(manifest.version)}

    def stored(self) -> list[str]:
        """Every path there is, committed or not; what no version that is kept references is `gc`'s to take."""
        return [
            f"{folder}/{name}"
            for folder in (self.versions.folder, self.path("parts"))
            for name in self.store_files.names(folder)
        ]

    def writer(
        self,
        table: Table,
        *,
        run_id: str,
        label: Mapping[str, str],
        limits: PartLimits = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.monotonic,
        heal: bool = False,
    ) -> Writer:
        """A writer that goes on from `head()`. `label` is `{"recipe": …}`, `{"fingerprint": …}` or empty.

        With `heal`, rows and failures in files that are damaged or missing count as absent, and so are made again.

        Raises:
            CorruptFile, MissingFile: the head is damaged, and `heal` is not set.
            NotExclusive: two writers could overwrite each other on this storage.
        """
        return Writer(self, table, run_id=run_id, label=label, limits=limits, clock=clock, heal=heal)
