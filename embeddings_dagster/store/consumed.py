"""What something made of all batches has taken in of each: an index of embeddings, the catalogue of records."""

from typing import NamedTuple


class Consumed(NamedTuple):
    """The state of a batch that a generation took in.

    `failed` hashes the images that have failures (empty: none), `newest` is the moment that orders batches, as text
    that sorts; both decide which batch an image is shown from, and neither is part of `content`.
    """

    version: int
    content: str
    failed: str = ""
    newest: str = ""

    def same_as(self, other: "Consumed") -> bool:
        """Whether both say the same; a fold or a retried failure makes a new version of the same state."""
        return self[1:] == other[1:]
