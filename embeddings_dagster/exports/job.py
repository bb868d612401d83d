"""What every export says of itself, and what every format does alike: open the rows, stage, check, put in place."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embeddings_dagster.errors import ExportFailed, Stopped
from embeddings_dagster.exports.report import ExportedFile, ExportReport
from embeddings_dagster.exports.rows import Rows, Vectors
from embeddings_dagster.stages.context import StageContext

NORM_TOLERANCE = 1e-3


@dataclass
class Job:
    """One export while it is made: the rows, and the steps that are counted for progress."""

    context: StageContext
    format: str
    rows: Rows
    started: float = field(default_factory=time.monotonic)

    def blocks(self, what: str) -> Iterator[Vectors]:
        """All vectors in order, each checked; progress is told, and a stop obeyed, between blocks.

        Raises:
            Stopped: a stop was asked for.
            ExportFailed: a vector is not of norm 1, or not finite.
        """
        done = 0
        for block in self.rows.blocks():
            self.check_stop()
            self._require_sound(block, done)
            yield block
            done += len(block)
            self.tell(what, done)

    def tell(self, what: str, done: int) -> None:
        """Progress: so many rows of one step."""
        if self.context.progress is not None:
            self.context.progress(f"{self.rows.record.name} {what}", done, len(self.rows))

    def check_stop(self) -> None:
        """Raises:
        Stopped: a stop was asked for.
        """
        if self.context.stop.is_set():
            raise Stopped("stopped on request; nothing was exported")

    def _require_sound(self, block: Vectors, first: int) -> None:
        norms = np.linalg.norm(block, axis=1)
        wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))  # NaN is no number that is close to 1
        if len(wrong):
            place = int(wrong[0])
            raise ExportFailed(
                f"{self.rows.ids[first + place]}: its vector in the index has norm {norms[place]:.6g}, not 1; nothing "
                "was exported. `embeddings run --force` makes the vectors anew"
            )

    def said(self) -> dict[str, Any]:
        """Where the vectors come from, for a description."""
        rows = self.rows
        manifest, wanted = rows.manifest, rows.wanted
        return {
            "name": rows.record.name,
            "fingerprint": manifest.fingerprint,
            "generation": manifest.version,
            "run_id": manifest.run_id,
            "created_at": manifest.created_at.isoformat(),
            "norm": 1,
            "scaled": is_scaled(rows),
            "sources": list(rows.sources),
            "batches": list(wanted.batches),
            "where": list(wanted.where),
            "catalogue": rows.catalogue,
            "pictures": wanted.pictures,
            "left_out": {"parts": rows.parts, "further_pictures": rows.further},
        }

    def report(self, files: tuple[ExportedFile, ...], recall: float | None = None) -> ExportReport:
        rows = self.rows
        return ExportReport(
            format=self.format,
            model=rows.record.name,
            fingerprint=rows.manifest.fingerprint,
            generation=rows.manifest.version,
            run_id=rows.manifest.run_id,
            created_at=rows.manifest.created_at.isoformat(),
            sources=rows.sources,
            rows=len(rows),
            dimension=rows.dimension,
            parts=rows.parts,
            further=rows.further,
            unmatched=rows.unmatched,
            considered=rows.considered,
            scaled=is_scaled(rows),
            files=files,
            seconds=round(time.monotonic() - self.started, 3),
            recall=recall,
        )


def model_id(rows: Rows) -> str:
    """The model as one would load it: its id on the hub, or its folder."""
    return str(rows.record.settings["model"])


def is_scaled(rows: Rows) -> bool:
    """Whether the model gives vectors of other lengths, of which the index has those of length 1."""
    network = rows.record.settings.get("network")
    return isinstance(network, dict) and not network.get("normalised", True) and rows.record.settings["side"] != "text"


def failed(path: Path, why: str) -> ExportFailed:
    """What a check found."""
    return ExportFailed(f"{path}: what was written is not what it should be ({why}); it was not put in place")
