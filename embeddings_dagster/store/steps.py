"""The named steps of a commit, and the crash-test hook that dies at one of them.

Nothing happens unless `EMBEDDINGS_KILL_AT=<step>` or `EMBEDDINGS_KILL_AT=<step>:<n>` is set: then the process kills
itself with SIGKILL when it reaches that step for the n-th time (1 = first). Tests start a subprocess with it and assert
that a reader afterwards sees the old state or the new one.
"""

import os
import signal
from collections import Counter
from typing import Final

KILL_AT: Final = "EMBEDDINGS_KILL_AT"

STEPS: Final = {
    "write:begun": "a part's temporary file exists, without its bytes",
    "write:temporary": "a part's bytes are on disk under a temporary name",
    "write:published": "a part has its name",
    "part:written": "a part of rows is whole; no manifest names it",
    "failures:written": "a failures file is whole; no manifest names it",
    "create:temporary": "a manifest's bytes are on disk under a temporary name",
    "create:linked": "a manifest has its name; its folder is not synced and the temporary name still exists",
    "manifest:created": "the commit is done",
    "fold:written": "the folded part is whole; no manifest names it",
    "ledger:written": "one batch of a ledger is whole; no manifest names it",
    "gc:version": "gc has deleted the manifest of a version that nobody needs; its files are there yet",
    "gc:file": "gc has deleted a file that no manifest names",
    "segment:written": "an index segment's files are whole; no generation names them",
    "deletions:written": "a deletions file of an index is whole; no generation names it",
    "analysis:written": "a file of an analysis is whole; no generation names it",
    "catalogue:written": "the catalogue's file is whole; no generation names it",
    "export:begun": "a description that says so stands where an export is being put in place",
    "export:placed": "a file of an export has its name",
    "download:placed": "a picture that was fetched has its name; the record of downloads does not know it",
    "keys:added": "Dagster knows the partitions of new batches; nothing was made of them",
    "keys:dropped": "Dagster has let go of the partitions of empty batches",
    "run:created": "Dagster has a run that nobody has begun",
    "batch:done": "a stage has committed a batch, or found it current; Dagster has not been told",
    "erase:version": "a version of what is forgotten is gone, newer ones are still there",
    "erase:folder": "all versions of what is forgotten are gone, and their files",
}

_reached: Counter[str] = Counter()


def reached(step: str) -> None:
    """Say that `step` (a key of `STEPS`) has been reached; kills this process when the environment asks for it."""
    target = os.environ.get(KILL_AT)
    if not target:
        return
    if step not in STEPS:
        raise KeyError(f"{step!r} is not a named commit step")
    _reached[step] += 1
    if target in (f"{step}:{_reached[step]}", step):
        os.kill(os.getpid(), signal.SIGKILL)
