"""The store: rows, in batches, that stay as they were committed.

A process that is killed at any instant leaves the old state or the new one. A killed run loses at most the part it had
in hand. Of two writers on one batch, one wins, and the other is told so and can go on from there. A reader sees one
state from first row to last, whatever is committed meanwhile. No reader sees a version that is not complete, and
complete means that every input is a row or a failure. A bad row costs its own image and no other.

A file that is not, to the bit, what was committed is an error and never a value. Verification finds every such file,
whatever is remembered. What is damaged can be made again without touching the rest.

Content, by which staleness is told, follows the live rows alone: folding, retrying, and the order of parts leave it
alone. A run that changes nothing writes nothing. A vector that was computed once can be found again, and is never taken
for another.

Memory holds the part in hand, or a row group, whatever a batch weighs. The cache may be deleted at any time. Storage
that cannot create a file exclusively is refused for writing. A store written by a newer release is refused, not
misread. One written by an older release is read and gone on from as it is.

`embeddings_dagster_tests/store/test_promise.py` names the tests of each sentence.
"""

from embeddings_dagster.store.chain import Chain
from embeddings_dagster.store.consumed import Consumed
from embeddings_dagster.store.erase import datasets_of, erase_batch, erase_generations, erase_ledger
from embeddings_dagster.store.files import Files, Stat
from embeddings_dagster.store.heads import Head, Heads
from embeddings_dagster.store.ledger import Ledger, LedgerBatch, LedgerManifest
from embeddings_dagster.store.manifest import Counts, FailuresEntry, Manifest, PartEntry, Previous
from embeddings_dagster.store.open_part import PartLimits
from embeddings_dagster.store.store import Store
from embeddings_dagster.store.tables import Failure, Table
from embeddings_dagster.store.vectors import VectorLookup
from embeddings_dagster.store.verify import Problem
from embeddings_dagster.store.versions import Versions
from embeddings_dagster.store.writer import Writer

__all__ = [
    "Chain",
    "Consumed",
    "Counts",
    "Failure",
    "FailuresEntry",
    "Files",
    "Head",
    "Heads",
    "Ledger",
    "LedgerBatch",
    "LedgerManifest",
    "Manifest",
    "PartEntry",
    "PartLimits",
    "Previous",
    "Problem",
    "Stat",
    "Store",
    "Table",
    "VectorLookup",
    "Versions",
    "Writer",
    "datasets_of",
    "erase_batch",
    "erase_generations",
    "erase_ledger",
]
