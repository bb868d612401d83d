"""The manifest of a generation: which segments, less which rows, are one state of an index, and what it was made from.

It is immutable and complete in itself: whoever holds one can open and search exactly that state.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from embeddings_dagster.index.recall import SegmentRecall
from embeddings_dagster.store import Consumed, Previous

METRIC = "inner_product"
FLAT = "flat"  # exact: every vector is compared
HNSW = "hnsw_fp16"  # along a graph, over vectors in float16


class FileEntry(NamedTuple):
    """A file of a segment, by its name in the segment's folder."""

    bytes: int
    sha256: str


class DeletionsEntry(NamedTuple):
    """The rows of a segment that are dead: an int64 `.npy` of ascending labels.

    A file of its own and not a list in the manifest: a generation that deletes nothing from a segment refers to the
    file of the one before, so that neither manifests nor refreshes grow with what was ever deleted.
    """

    file: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One immutable segment. `rows` counts all rows, dead ones included; labels are 0 … `rows` - 1. `recall` is what
    was tuned when it was built; a flat one needs none."""

    uuid: str
    kind: str
    rows: int
    files: Mapping[str, FileEntry]
    deletions: DeletionsEntry | None = None
    recall: SegmentRecall | None = None

    @property
    def live(self) -> int:
        return self.rows - (self.deletions.rows if self.deletions else 0)

    def path(self, name: str) -> str:
        """A file of the segment, relative to the index's folder."""
        return f"segments/{self.uuid}/{name}"

    def hashes(self) -> dict[str, str]:
        """The sha256 of every file that is needed to open it, by path relative to the index's folder."""
        found = {self.path(name): entry.sha256 for name, entry in self.files.items()}
        if self.deletions:
            found[self.deletions.file] = self.deletions.sha256
        return found


@dataclass(frozen=True, slots=True)
class GenerationManifest:
    """One generation. `pinned`: refreshes wait until it is released; `restores`: the generation it rolled back to."""

    version: int
    previous: Previous | None
    created_at: datetime
    run_id: str
    fingerprint: str
    dimension: int
    segments: tuple[SegmentEntry, ...]
    consumed: Mapping[str, Consumed]
    pinned: bool = False
    restores: int | None = None
    metric: str = METRIC
    self_sha256: str = ""

    @property
    def rows(self) -> int:
        """Rows that can be found."""
        return sum(segment.live for segment in self.segments)

    @property
    def kinds(self) -> dict[str, int]:
        """How many segments of each kind there are."""
        return dict(Counter(segment.kind for segment in self.segments))

    @property
    def recall(self) -> float:
        """The mean recall@10 that its segments were tuned to: that of the worst. 1 where all are exact."""
        return min((segment.recall.mean for segment in self.segments if segment.recall), default=1.0)

    @property
    def worst_decile(self) -> float:
        """As `recall`, over the worst tenth of the queries."""
        return min((segment.recall.worst_decile for segment in self.segments if segment.recall), default=1.0)

    def to_document(self) -> dict[str, Any]:
        """The JSON body, unsealed."""
        return {
            "version": self.version,
            "previous": self.previous and asdict(self.previous),
            "created_at": self.created_at.isoformat(),
            "run_id": self.run_id,
            "fingerprint": self.fingerprint,
            "dimension": self.dimension,
            "metric": self.metric,
            "segments": [_segment_document(segment) for segment in self.segments],
            "consumed": {batch: state._asdict() for batch, state in self.consumed.items()},
            "pinned": self.pinned,
            "restores": self.restores,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "GenerationManifest":
        """The manifest in a sealed document."""
        return cls(
            version=document["version"],
            previous=document["previous"] and Previous(**document["previous"]),
            created_at=datetime.fromisoformat(document["created_at"]),
            run_id=document["run_id"],
            fingerprint=document["fingerprint"],
            dimension=document["dimension"],
            metric=document["metric"],
            segments=tuple(_segment(entry) for entry in document["segments"]),
            consumed={batch: Consumed(**state) for batch, state in document["consumed"].items()},
            pinned=document["pinned"],
            restores=document["restores"],
            self_sha256=document["self_sha256"],
        )


def _segment_document(segment: SegmentEntry) -> dict[str, Any]:
    return {
        "uuid": segment.uuid,
        "kind": segment.kind,
        "rows": segment.rows,
        "files": {name: entry._asdict() for name, entry in segment.files.items()},
        "deletions": segment.deletions and segment.deletions._asdict(),
        "recall": segment.recall and segment.recall.to_document(),
    }


def _segment(entry: Mapping[str, Any]) -> SegmentEntry:
    recall = entry.get("recall")  # which the first releases did not write
    return SegmentEntry(
        uuid=entry["uuid"],
        kind=entry["kind"],
        rows=entry["rows"],
        files={name: FileEntry(**file) for name, file in entry["files"].items()},
        deletions=entry["deletions"] and DeletionsEntry(**entry["deletions"]),
        recall=recall and SegmentRecall.from_document(recall),
    )
