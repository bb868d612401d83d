"""Where the pictures of page specs lie: paths written on another computer, found below the image root.

Nothing outside of the root is found, and nothing is guessed: a path that could be two pictures is none, with a reason
that names them.
"""

import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from embeddings_dagster.errors import SourceError
from embeddings_dagster.ids import escape_local_id
from embeddings_dagster.sources.base import Problem
from embeddings_dagster.sources.local_files import FilesWithin
from embeddings_dagster.sources.named_files import files_named
from embeddings_dagster.sources.tails import Match, Parts, TailIndex, fold, named, parts_of

DRIVE = re.compile(r"[A-Za-z]:(?=[\\/])")


class Picture(NamedTuple):
    """`location`: relative to the root, or the path asked for where there is no such picture, for the `reason` given;
    size and mtime are None where it cannot be looked at."""

    location: str
    size: int | None
    mtime_ns: int | None
    reason: str


class Pictures(NamedTuple):
    """`found`: by the path that was asked for."""

    found: Mapping[str, Picture]
    problems: tuple[Problem, ...]


def find_pictures(root: str, asked: Iterable[str], *, source: str, setting: str) -> Pictures:
    """The pictures below `root` (a real path) that specs ask for, each path as its spec writes it.

    Raises:
        SourceError: the root holds no file at all, as a disk that is not mounted, or part of it cannot be listed.
    """
    parts = {path: parts_of(path) for path in asked}
    if not parts:
        return Pictures({}, ())
    there = files_named(root, {fold(each[-1]) for each in parts.values()}, source=source)
    if not there.files:
        raise SourceError(
            f"source {source!r}: {root!r} holds no file, where {len(parts):,} pictures should be; mount it, or correct "
            f"{setting}. Nothing was removed."
        )
    matches = TailIndex(there.paths).find_all(dict.fromkeys(parts.values()))
    files = FilesWithin(root)
    found = {path: _picture(path, matches[each], files) for path, each in parts.items()}
    return Pictures(found, _in_part(parts, matches, setting))


def _picture(path: str, match: Match, files: FilesWithin) -> Picture:
    if match.path:
        seen = files.stat(match.path)
        return Picture(escape_local_id(match.path), seen and seen.st_size, seen and seen.st_mtime_ns, "")
    drive = DRIVE.match(path)
    location = escape_local_id("/".join((*([drive[0]] if drive else []), *parts_of(path))))
    return Picture(location, None, None, _reason(match))


def _reason(match: Match) -> str:
    if not match.candidates:
        return "no file of that name is there"
    names = named([escape_local_id(each) for each in match.candidates], match.others)
    if match.others > 1:
        return f"it could be any of {match.others:,}: {names}"
    return f"{names} may be another page's: its folder has another name, or other specs ask for it"


def _in_part(parts: Mapping[str, Parts], matches: Mapping[Parts, Match], setting: str) -> tuple[Problem, ...]:
    """Pictures that were found by the end of their path alone, in another folder: their owner should see one."""
    some = [path for path, each in parts.items() if (match := matches[each]).path and _is_in_part(match)]
    if not some:
        return ()
    match = matches[parts[some[0]]]
    folder = os.path.join(*match.path.split("/")[: -match.shared])
    reason = (
        f"and {len(some) - 1:,} more were found by the end of their path, as {escape_local_id(match.path)}; if that is "
        f"right, set {setting} to its folder {folder!r}, where they are found as a whole"
    )
    return (Problem(escape_local_id(some[0]), reason),)


def _is_in_part(match: Match) -> bool:
    return not match.sure and match.path.count("/") + 1 > match.shared
