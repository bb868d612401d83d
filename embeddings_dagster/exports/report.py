"""What an export did, for whoever asked."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ExportedFile:
    """A file that was written."""

    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ExportReport:
    """One export. `parts` and `further`: how many parts of pictures, and further pictures of items, were left out.
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
    scaled: bool
    files: tuple[ExportedFile, ...]
    seconds: float
    recall: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        files = [{**asdict(file), "path": str(file.path)} for file in self.files]
        return {**asdict(self), "sources": list(self.sources), "files": files}
