"""The files below a folder that bear certain names, found in one pass; memory grows with what was found alone."""

import os
from collections.abc import Collection
from typing import NamedTuple

from embeddings_dagster.errors import SourceError
from embeddings_dagster.ids import escape_local_id
from embeddings_dagster.sources.tails import fold


class Named(NamedTuple):
    """`paths`: relative to the folder, `/` between their names. `files`: how many files there are in all."""

    paths: list[str]
    files: int


def files_named(root: str, names: Collection[str], *, source: str) -> Named:
    """Every file below `root` whose name, folded, is in `names`. Links to files are among them, wherever they lead;
    linked folders are not entered, so that no loop of links can trap the pass.

    Raises:
        SourceError: a folder cannot be listed, and what is in it might be taken to be gone.
    """
    paths: list[str] = []
    files = 0
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                        continue
                    files += 1
                    if fold(entry.name) in names:
                        paths.append(path)
        except OSError as error:
            raise unlistable(source, folder, error) from error
    return Named(paths, files)


def unlistable(source: str, folder: str, error: OSError) -> SourceError:
    """What is said of a folder, relative to the root, that cannot be listed."""
    where = escape_local_id(folder) or "its root"
    return SourceError(
        f"source {source!r}: {where} cannot be listed ({error.strerror}), so nothing is concluded from the rest; check "
        "its permissions and its disk, then run again. Nothing was removed."
    )
