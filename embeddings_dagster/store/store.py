"""The store: one root for all that is committed, one cache for all that is derived."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock

from embeddings_dagster.store.chain import Chain
from embeddings_dagster.store.checked import Checked
from embeddings_dagster.store.files import Files, Stat
from embeddings_dagster.store.files_local import LocalFiles
from embeddings_dagster.store.files_object import ObjectFiles
from embeddings_dagster.store.files_s3 import S3Files
from embeddings_dagster.store.heads import Heads, read_heads
from embeddings_dagster.store.ledger import Ledger, Newest
from embeddings_dagster.store.object_system import S3
from embeddings_dagster.store.trouble import telling
from embeddings_dagster.store.vectors import Listing, VectorLookup
from embeddings_dagster.store.verify import Problem, verify_store
from embeddings_dagster.store.versions import NAME as VERSION

NAME = re.compile(r"(?!\.+$)[A-Za-z0-9_.-]+")
SINGLE_DATASETS = ("raw_images", "rgb_images")


class Store:
    """Opens what is under a root. Safe to share among threads; all state it holds is what may be forgotten: which files
    were checked, when batches were listed, and the newest ledgers."""

    def __init__(self, files: Files, cache: Path) -> None:
        self.files = files
        self.cache = cache
        self.checked = Checked(files, cache)
        self._listings: dict[Path, Listing] = {}
        self._ledgers: dict[str, Newest] = {}

    @classmethod
    def open(cls, root: str | Path, cache: Path) -> "Store":
        """A store at a path or an fsspec URL. `cache` is a local folder, and may be deleted at any time.

        Raises:
            StoreError: it is no URL of storage that is known.
            MissingExtra: it needs a package that is not installed.
        """
        url = os.fspath(root)
        if url.startswith(("file://", "local://")):
            url = url.split("://", 1)[1]
        return cls(_files(url, cache), cache)

    @property
    def root(self) -> str:
        return self.files.root

    def chain(self, dataset: str, batch: str) -> Chain:
        """The versions of a batch of a dataset (`raw_images`, `embeddings/<model>/<fingerprint>`, …).

        Raises:
            ValueError: a name holds anything but letters, digits, `_`, `.` and `-`.
        """
        for name in (*dataset.split("/"), batch):
            _require_name(name)
        return Chain(self.files, self.checked, dataset, batch)

    def batches(self, dataset: str) -> list[str]:
        """The batches of a dataset that have a version, complete or not, sorted."""
        return sorted(self.newest(dataset))

    def newest(self, dataset: str) -> dict[str, tuple[str, Stat]]:
        """The batches of a dataset that have a version, each with the name of its newest manifest, and its state."""
        found = self.files.newest(dataset, "manifests", VERSION)
        return {batch: newest for batch, newest in found.items() if NAME.fullmatch(batch)}

    def heads(self, dataset: str, *, at_most: int | None = None, first: Callable[[str], Any] | None = None) -> Heads:
        """The newest version of every batch of a dataset, by a listing and what is remembered of manifests.

        At most `at_most` that are new are opened (default: all), those with the lowest `first` before others.

        Raises:
            FormatTooNew: a newer release wrote one.
        """
        return read_heads(self, dataset, at_most=at_most, first=first)

    def datasets(self) -> list[str]:
        """Every dataset of rows there is."""
        models = [f"embeddings/{name}" for name in filter(NAME.fullmatch, self.files.folders("embeddings"))]
        vectors = [f"{model}/{name}" for model in models for name in filter(NAME.fullmatch, self.files.folders(model))]
        return [name for name in (*SINGLE_DATASETS, *vectors) if self.batches(name)]

    def ledger(self, source: str) -> Ledger:
        """The ledger of a source. Raises ValueError for an impossible name."""
        _require_name(source)
        return Ledger(self.files, self.checked, source, self._ledgers)

    def sources(self) -> list[str]:
        """The sources that have a ledger, sorted."""
        names = filter(NAME.fullmatch, self.files.folders("sources"))
        return [name for name in names if self.ledger(name).versions.numbers()]

    def vectors(self, model: str, fp12: str) -> VectorLookup:
        """The look-up of reusable vectors of a model and fingerprint."""
        for name in (model, fp12):
            _require_name(name)
        database = self.cache / "vectors" / f"{model}-{fp12}.sqlite"
        return VectorLookup(self, f"embeddings/{model}/{fp12}", database, self._listings)

    def lock(self, name: str, timeout: float = -1) -> FileLock:
        """A lock among this machine's processes, for use in `with`. Saves work; the guarantee is the commit's.

        `timeout` in seconds, -1 waits for ever; `filelock.Timeout` when it has passed.
        """
        folder = self.cache / "locks"
        with telling(folder, "made"):
            folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{quote(name, safe='')}.lock", timeout=timeout)

    def verify(self, deep: bool = True) -> list[Problem]:
        """Everything that is not as it was committed; `deep` reads every byte, and trusts nothing remembered."""
        return verify_store(self, deep=deep)


def _files(root: str, cache: Path) -> Files:
    scheme, separator, _ = root.partition("://")
    if not separator:
        return LocalFiles(Path(root))
    kind = S3Files if scheme in S3 else ObjectFiles
    return kind(root, cache / "uploads")


def _require_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be part of a path in the store: letters, digits, '_', '.' and '-' only")
