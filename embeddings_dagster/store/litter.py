"""What killed processes, newer versions and former settings leave behind: all there is, with a sentence for each kind.

`gc` takes these and nothing else; a file whose name no writer of ours makes is not ours, and stays.
"""

import re
from collections.abc import Iterable
from typing import Final

from embeddings_dagster.errors import CommitConflict
from embeddings_dagster.store.files import Files

VERSION: Final = "version"
SUPERSEDED: Final = "superseded"
STRAY: Final = "stray"
TEMPORARY: Final = "temporary"
PROBE: Final = "probe"
UPLOAD: Final = "upload"
COPY: Final = "copy"
DERIVED: Final = "derived"
DOWNLOAD: Final = "download"
EXPORT: Final = "export"
FORMER: Final = "former"

KINDS: Final = {
    VERSION: "The manifest of an old version: of a batch, a ledger, an index, the catalogue, an analysis, or the "
    "registry of a model.",
    SUPERSEDED: "A part, a failures file, a segment, deletions or a catalogue file that only such versions name.",
    STRAY: "A file of the store that no manifest names: its writer was killed before the commit, or an erasing was cut "
    "short.",
    TEMPORARY: "An unfinished file of the store, under the hidden name that it has until it is whole.",
    PROBE: "A file that asked whether the storage can create one exclusively, or what time it is there.",
    UPLOAD: "A file on its way to an object store, in the cache.",
    COPY: "This machine's copy, in the cache, of a file that the object store no longer has.",
    DERIVED: "An unfinished file or folder in the cache, or a look-up table of an index or of vectors that are gone.",
    DOWNLOAD: "A half-written download in the image cache.",
    EXPORT: "The staging folder of a killed export, in the store's own folder for exports.",
    FORMER: "Vectors or an index of a fingerprint that no model of the settings has any more, and that serves no "
    "search; taken only with --former-models.",
}

UNFINISHED: Final = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
PROBING: Final = re.compile(r"(\.probe-[0-9a-f]{32})|(\.\.probe-[0-9a-f]{32}\.[0-9a-f]{32}\.tmp)")
EXPORTING: Final = ".embeddings-export-"  # what the name of an export's staging folder begins with
WRITTEN: Final = re.compile(r"(parts|files|deletions)/[0-9a-f]{32}\.[a-z0-9]+|segments/[0-9a-f]{32}/[a-z]+\.[a-z]+")
INSIDE: Final = re.compile(r"(?P<folder>.+?)/(?P<inside>(manifests|parts|files|deletions|segments/[0-9a-f]{32})/[^/]+)")


def require_there(files: Files, paths: Iterable[str], what: str) -> None:
    """Refuse a commit of files that are not there any more: whoever pauses for a week between writing and committing
    may find that a `gc` on another machine took them for a dead writer's.

    Raises:
        CommitConflict: one is gone; planned again, they are made again.
    """
    for path in paths:
        if files.stat(path) is None:
            raise CommitConflict(
                f"{what}: {path} was written for the next version and is gone: it lay there uncommitted for so long "
                "that a gc took it for a dead writer's. Nothing is damaged; it is planned and made again."
            )
