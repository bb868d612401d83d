"""The largest clusters of near-duplicates: as rows to be listed, and as a contact sheet."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from embeddings_dagster.errors import IndexUnavailable
from embeddings_dagster.stages.analysis_drawing import caption, fitted, jpeg_within, thumbnails, tile
from embeddings_dagster.stages.duplicates import CLUSTERS, NONE_YET, duplicates_of
from embeddings_dagster.store import Store

ACROSS = 8  # pictures of a cluster that are shown
SIDE, GAP, LINES = 128, 8, 32  # pixels of a picture, between two, and of the lines beneath
LETTERS = 20  # that fit under a picture
MOST_BYTES = 220_000  # in base64, four bytes for three
SHOWN = 8  # clusters on a sheet


class Member(NamedTuple):
    """A picture of a cluster, beside its representative; `bits` is None where one of them has no hash."""

    image_id: str
    batch: str
    exact: bool
    cosine: float
    bits: int | None


class Cluster(NamedTuple):
    """Pictures that are nearly the same, the representative first. `size` counts those that are not listed, too."""

    representative: str
    size: int
    members: tuple[Member, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**self._asdict(), "members": [each._asdict() for each in self.members]}


def largest_clusters(store: Store, count: int, members: int | None = None) -> list[Cluster]:
    """The largest clusters, then by representative's id; of each at most so many members.

    Raises:
        IndexUnavailable: there was no run yet.
        CorruptFile, MissingFile: what was committed cannot be read; the message says what to do.
    """
    analysis = duplicates_of(store)
    manifest = analysis.latest()
    if manifest is None:
        raise IndexUnavailable(NONE_YET)
    table = analysis.read_table(manifest, CLUSTERS)
    if not len(table):
        return []
    codes = table.column("representative").combine_chunks().dictionary_encode().indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    sizes = np.diff(starts, append=len(table))
    first = np.lexsort((starts, -sizes))[:count]
    return [_cluster(table.slice(starts[each], sizes[each]), members) for each in first.tolist()]


def _cluster(rows: pa.Table, members: int | None) -> Cluster:
    listed = rows.select(Member._fields).slice(0, members)
    found = tuple(Member(**row) for row in listed.to_pylist())
    return Cluster(rows.column("representative")[0].as_py(), len(rows), found)


def contact_sheet(store: Store, clusters: Sequence[Cluster], most_bytes: int = MOST_BYTES) -> bytes | None:
    """A JPEG with a row of pictures for each cluster; None where there is none."""
    if not clusters:
        return None
    shown = [(each, each.members[:ACROSS]) for each in clusters]
    small = thumbnails(store, ((member.image_id, member.batch) for _, members in shown for member in members))
    across = max(len(members) for _, members in shown)
    step, height = SIDE + GAP, SIDE + LINES + GAP
    sheet = Image.new("RGB", (across * step + GAP, len(shown) * height + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (cluster, members) in enumerate(shown):
        for column, member in enumerate(members):
            x, y = GAP + column * step, GAP + row * height
            picture = tile(small.get(member.image_id), SIDE)
            sheet.paste(picture, (x + (SIDE - picture.width) // 2, y + (SIDE - picture.height) // 2))
            caption(draw, (x, y + SIDE + 2), fitted(member.image_id.partition(":")[2], LETTERS))
            caption(draw, (x, y + SIDE + 15), _said(cluster, member, first=column == 0))
    return jpeg_within(sheet, most_bytes)


def _said(cluster: Cluster, member: Member, *, first: bool) -> str:
    if first:
        return f"stands for {cluster.size:,}"
    return "exact copy" if member.exact else f"cos {member.cosine:.3f}, {member.bits} bits"
