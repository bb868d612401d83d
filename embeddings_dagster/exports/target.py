"""Where an export goes: the names of its files, and the refusals that protect what is there already.

An export is one file of vectors, and beside it a description that names every file of it. A file that no description of
ours names is somebody else's, and is overwritten only when that is asked for.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from embeddings_dagster.errors import ExportRefused
from embeddings_dagster.stages.context import StageContext

SUFFIXES = {"npy": ".npy", "json": ".json", "faiss": ".faiss"}
FREE = "exports"  # the one folder of the store that exports may be in
MAKER = "embeddings-dagster"
FORMAT_VERSION = 1  # of a description; counted up when what it says changes its meaning


@dataclass(frozen=True)
class Target:
    """Names in a folder: `data` holds the vectors, `description` says what they are, and `ids`, where an export may
    have one, names the rows."""

    folder: Path
    format: str
    data: str
    description: str
    ids: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every file that this export may have."""
        return tuple(name for name in (self.data, self.ids, self.description) if name is not None)


def file_in(out: Path | None, format: str) -> Path | None:
    """`out` where it is the name of a file of vectors, and not a folder.

    Raises:
        ExportRefused: it is the name of a file of another format.
    """
    if out is None or os.path.isdir(out) or out.suffix.lower() not in SUFFIXES.values():
        return None
    if out.suffix.lower() != SUFFIXES[format]:
        raise ExportRefused(f"{out} is not the name of a {SUFFIXES[format]} file; choose another, or a folder")
    return out


def default_folder(context: StageContext, sources: tuple[str, ...], model: str) -> Path:
    """`exports/<source>/<model>` in the store; without the source where there are several.

    Raises:
        ExportRefused: the store is not on this machine.
    """
    root = context.store.files.local(FREE)
    if root is None:
        raise ExportRefused(f"{context.store.root} is not on this machine; say where the export is to go with --out")
    return root.joinpath(*(sources if len(sources) == 1 else ()), model)


def require_free(context: StageContext, target: Target, *, force: bool) -> None:
    """Raises:
    ExportRefused: it would go into the store, or over what is not an export of this format and model.
    """
    _require_outside(context, target.folder)
    if target.folder.is_file():
        suffix = SUFFIXES[target.format]
        raise ExportRefused(f"{target.folder} is a file; name a folder, or a file that ends in {suffix}, with --out")
    there = [target.folder / name for name in target.names if _exists(target.folder / name)]
    for path in there:
        if path.is_dir():
            raise ExportRefused(f"{path} is a folder; choose another name with --out")
    own = set() if force else _own(target)
    for path in there:
        if not force and path.name not in own:
            raise ExportRefused(
                f"{path} is there, and is not known as an export of this kind; choose another place with --out, or "
                "overwrite it with --force"
            )


def _own(target: Target) -> set[str]:
    """The files there that a description of ours names, and itself: those of an earlier export of the same vectors.

    Raises:
        ExportRefused: a newer release made it, and may have put files there that this one does not know of.
    """
    try:
        said = json.loads((target.folder / target.description).read_bytes())
    except (OSError, ValueError, RecursionError):
        return set()
    if not isinstance(said, dict) or said.get("format") != target.format:
        return set()
    files = said.get("files")
    if not str(said.get("made_by", "")).startswith(MAKER) or not isinstance(files, dict) or target.data not in files:
        return set()
    version = said.get("format_version", 1)  # which the first releases did not write
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ExportRefused(
            f"{target.folder / target.description} is of format {version}, and this release writes {FORMAT_VERSION}: a "
            "newer one made that export; upgrade embeddings-dagster, choose another place with --out, or overwrite it "
            "with --force"
        )
    return {*files, target.description}


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _require_outside(context: StageContext, folder: Path) -> None:
    """Nothing goes among the files of the store, where it would look like one, nor into the cache, which may be deleted
    at any time."""
    real = folder.resolve()
    root = context.store.files.local("")
    if root is not None and (real == root.resolve() or real.is_relative_to(root.resolve())):
        free = (root / FREE).resolve()
        if real != free and not real.is_relative_to(free):
            raise ExportRefused(f"{folder} lies in the store, where only {free} is free for exports; choose another")
    if real.is_relative_to(context.store.cache.resolve()):
        raise ExportRefused(f"{folder} lies in the cache, which may be deleted at any time; choose another place")
