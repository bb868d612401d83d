"""The manifest: the file that says which parts, and which rows of them, are one version of a dataset's batch.

A manifest is immutable and complete in itself: whoever holds one sees one state, whatever is committed meanwhile.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from embeddings_dagster.ids import Key
from embeddings_dagster.store.migrations import FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class Previous:
    """The version a manifest was built on, and its `self_sha256`."""

    version: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows and failures; in a complete version `total` = `ok` + `failed`, proven against the stage's own count."""

    total: int
    ok: int
    failed: int


@dataclass(frozen=True, slots=True)
class PartEntry:
    """One part. `rows` counts all rows, `dead` lists the numbers of those that no longer count, ascending."""

    file: str
    rows: int
    bytes: int
    sha256: str
    first_key: Key
    last_key: Key
    dead: tuple[int, ...] = ()

    @property
    def live(self) -> int:
        return self.rows - len(self.dead)


@dataclass(frozen=True, slots=True)
class FailuresEntry:
    """The one file that holds all failures of a version. `bytes` is None where a release that did not say it wrote."""

    file: str
    rows: int
    sha256: str
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of a dataset's batch.

    `content` is the data version: a hash of the live rows' identity columns, empty while `complete` is false. File
    names are relative to the chain's folder.
    """

    dataset: str
    batch: str
    version: int
    previous: Previous | None
    complete: bool
    content: str
    created_at: datetime
    run_id: str
    counts: Counts
    parts: tuple[PartEntry, ...]
    failures: FailuresEntry | None
    inputs: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    recipe: str | None = None
    fingerprint: str | None = None
    format_version: int = FORMAT_VERSION
    self_sha256: str = ""

    @property
    def label(self) -> dict[str, str]:
        """What decided the rows: a recipe, a fingerprint, or nothing."""
        labels = {"recipe": self.recipe, "fingerprint": self.fingerprint}
        return {name: value for name, value in labels.items() if value is not None}

    def to_document(self) -> dict[str, Any]:
        """The JSON body, unsealed."""
        document = asdict(self)
        for name in ("format_version", "self_sha256", *({"recipe", "fingerprint"} - self.label.keys())):
            del document[name]
        return {**document, "created_at": self.created_at.isoformat()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Manifest":
        """The manifest in a sealed document."""
        previous, failures = document["previous"], document["failures"]
        fields = {
            **document,
            "previous": previous and Previous(**previous),
            "created_at": datetime.fromisoformat(document["created_at"]),
            "counts": Counts(**document["counts"]),
            "parts": tuple(_part(entry) for entry in document["parts"]),
            "failures": failures and FailuresEntry(**failures),
        }
        return cls(**fields)


def _part(entry: Mapping[str, Any]) -> PartEntry:
    keys = {name: Key(*entry[name]) for name in ("first_key", "last_key")}
    return PartEntry(**{**entry, **keys, "dead": tuple(entry["dead"])})
