"""What an export did, for whoever asked."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embeddings_dagster.stages.statistics import Statistics, without_zeros


@dataclass(frozen=True)
class ExportedFile:
    """A file that was written."""

    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ExportReport:
    """One export. Of `considered` rows of the index, those of the sources and batches asked for, `rows` were written;
    `parts` of pictures, `further` pictures of items, and those `unmatched` by the conditions were left out.
    `scaled`: the model's own vectors are not of length 1. `recall`: that of an index, at 10."""

    format: str
    model: str
    fingerprint: str
    generation: int
    run_id: str
    created_at: str
    sources: tuple[str, ...]
    rows: int
    dimension: int
    parts: int
    further: int
    unmatched: int
    considered: int
    scaled: bool
    files: tuple[ExportedFile, ...]
    seconds: float
    recall: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        files = [{**asdict(file), "path": str(file.path)} for file in self.files]
        told = {**asdict(self), "sources": list(self.sources), "files": files}
        return {**told, "statistics": self.statistics.counts}

    @property
    def statistics(self) -> Statistics:
        """Every row that was considered is written, or left out for a reason."""
        reasons = without_zeros(
            parts_of_pictures=self.parts, further_pictures=self.further, not_asked_for=self.unmatched
        )
        return Statistics(stage=f"export {self.format}", where=self.model, unit="rows", total=self.considered,
                          processed=self.rows, skipped=sum(reasons.values()), failed=0, reasons=reasons,
                          seconds=self.seconds)  # fmt: skip
