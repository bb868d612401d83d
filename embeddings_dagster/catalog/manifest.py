"""The manifest of a generation of the catalogue: which file it is, and what it was made from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from embeddings_dagster.catalog.layout import LAYOUT
from embeddings_dagster.errors import FormatTooNew
from embeddings_dagster.store import Consumed, Previous


@dataclass(frozen=True, slots=True)
class CatalogueManifest:
    """One generation. `file` is relative to the catalogue's folder; `rows` counts regions, `images` pictures."""

    version: int
    previous: Previous | None
    created_at: datetime
    run_id: str
    file: str
    bytes: int
    sha256: str
    rows: int
    images: int
    consumed: Mapping[str, Consumed]
    layout: int = LAYOUT
    self_sha256: str = ""

    def to_document(self) -> dict[str, Any]:
        """The JSON body, unsealed."""
        body = {name: getattr(self, name) for name in self.__slots__ if name != "self_sha256"}
        return {
            **body,
            "previous": self.previous and asdict(self.previous),
            "created_at": self.created_at.isoformat(),
            "consumed": {batch: state._asdict() for batch, state in self.consumed.items()},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "CatalogueManifest":
        """The manifest in a sealed document.

        Raises:
            FormatTooNew: a newer release made its file.
        """
        if document["layout"] > LAYOUT:
            raise FormatTooNew(
                f"the catalogue of records has layout {document['layout']}; this release reads up to {LAYOUT}. Upgrade "
                "embeddings-dagster."
            )
        said = {name: document[name] for name in cls.__slots__}
        return cls(
            **{
                **said,
                "previous": document["previous"] and Previous(**document["previous"]),
                "created_at": datetime.fromisoformat(document["created_at"]),
                "consumed": {batch: Consumed(**state) for batch, state in document["consumed"].items()},
            }
        )
