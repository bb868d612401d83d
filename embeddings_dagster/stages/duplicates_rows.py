"""The table of clusters: a row for each picture that is nearly the same as another, and who stands for it.

The representative of a cluster is its largest picture, in pixels; of equals, the one whose id comes first.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embeddings_dagster.stages.analysis_pictures import Numbers, Pictures
from embeddings_dagster.stages.duplicates_clusters import Joined
from embeddings_dagster.stages.duplicates_lookup import Looks
from embeddings_dagster.stages.duplicates_pairs import distances

# `exact`: the same bytes as the representative; `cosine` and `bits` are to the representative, `bits` null where one of
# the two has no hash.
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("representative", pa.string(), nullable=False),
        pa.field("batch", pa.string(), nullable=False),
        pa.field("exact", pa.bool_(), nullable=False),
        pa.field("cosine", pa.float32(), nullable=False),
        pa.field("bits", pa.int16()),
    ]
)
BLOCK = 4_096  # vectors compared with their representatives' at one time


def cluster_rows(pictures: Pictures, which: Numbers, firsts: Numbers, groups: Joined, looks: Looks) -> pa.Table:
    """The clusters of two pictures or more: by representative's id, in each the representative first, then by id.

    `pictures` are in the order of their ids; `which` numbers what differs among them, `firsts` has one picture of each,
    and `groups` and `looks` are of those.
    """
    root = groups.roots()[which]
    members = np.flatnonzero(np.bincount(root, minlength=len(firsts))[root] > 1)
    best = members[np.lexsort((members, -looks.pixels[which[members]], root[members]))]
    leads = np.zeros(len(firsts), np.int64)
    leads[root[best[::-1]]] = best[::-1]  # the first of each root is written last, and stays
    led_by = leads[root[members]]
    order = np.lexsort((members, members != led_by, led_by))
    members, led_by = members[order], led_by[order]
    ids, batches = pictures.table.column("image_id"), pictures.table.column("batch")
    one, other = which[members], which[led_by]
    bits = distances(looks.hashes[one], looks.hashes[other]).astype(np.int16)
    unknown = ~(looks.hashed[one] & looks.hashed[other])
    columns = [
        ids.take(pa.array(members)),
        ids.take(pa.array(led_by)),
        batches.take(pa.array(members)),
        pa.array(one == other),
        pa.array(_cosines(pictures, firsts[one], firsts[other])),
        pa.array(bits, mask=unknown),
    ]
    return pa.table(columns, schema=SCHEMA)


def _cosines(pictures: Pictures, one: Numbers, other: Numbers) -> npt.NDArray[np.float32]:
    found = np.ones(len(one), np.float32)
    for start in range(0, len(one), BLOCK):
        some = slice(start, start + BLOCK)
        found[some] = np.einsum("nd,nd->n", pictures.vectors(one[some]), pictures.vectors(other[some]))
    found[one == other] = 1.0
    return np.clip(found, -1.0, 1.0)
