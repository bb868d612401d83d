"""Which page specs there are: those that a list file names, or every `*.json` below a folder.

A spec is known by its path below the list's folder, exactly as it is on the disk, so that no two ever share a name; one
that is listed and cannot be found is there all the same, under the path it was listed by.
"""

import os
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from embeddings_dagster.errors import SourceError
from embeddings_dagster.ids import escape_local_id
from embeddings_dagster.sources.lenient_json import decode
from embeddings_dagster.sources.local_files import FilesWithin, read_named, real_root
from embeddings_dagster.sources.named_files import files_named, unlistable
from embeddings_dagster.sources.tails import Parts, TailIndex, fold, is_absolute, parts_of

HIDDEN, LINK, OTHER_KIND, AGAIN = "hidden", "symbolic link", "not a page spec by its extension", "listed again"


class SpecFile(NamedTuple):
    """`path` is relative to the base, `/` between its names; size and mtime are None where it cannot be looked at."""

    path: str
    size: int | None
    mtime_ns: int | None


@dataclass
class Specs:
    """`base`: the real path of the folder that paths are relative to. `listed_in`: the list, if there is one, as it was
    when it was read. `seen`: how many files of the folder, or lines of the list; `ignored`: those passed over, by why.
    """

    base: str
    files: list[SpecFile]
    listed_in: SpecFile | None = None
    ignored: Counter[str] = field(default_factory=Counter)
    seen: int = 0


def base_of(path: Path) -> Path:
    """The folder that the specs of a source lie below, by its setting `path`."""
    return path if path.is_dir() else path.parent


def list_specs(path: Path, *, source: str, setting: str) -> Specs:
    """The specs of a source. Nothing is read but the list file; `setting` names where `path` can be corrected.

    Raises:
        SourceError: `path` is missing, cannot be read or listed, or is a list that names nothing.
    """
    if path.is_dir():
        return _below(real_root(path, source=source, setting=setting), source)
    try:
        before = os.stat(path)
        lines = _lines(read_named(path))
        after = os.stat(path)
    except OSError as error:
        raise SourceError(
            f"source {source!r}: the list {str(path)!r} cannot be read ({error.strerror}); mount or create it, or "
            f"correct {setting}. Nothing was removed."
        ) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise SourceError(
            f"source {source!r}: the list {str(path)!r} is being written; run again. Nothing was removed."
        )
    if not lines:
        raise SourceError(
            f"source {source!r}: the list {str(path)!r} names no page spec; write it again, or, if there are to be no "
            f"pages any more, `embeddings forget {source}`. Nothing was removed."
        )
    specs = _listed(os.path.realpath(path.parent), lines, SpecFile(path.name, after.st_size, after.st_mtime_ns), source)
    if all(each.size is None for each in specs.files):
        raise SourceError(
            f"source {source!r}: the list {str(path)!r} names {len(specs.files):,} page specs, such as "
            f"{escape_local_id(specs.files[0].path)}, and none of them is below {str(path.parent)!r}; mount or copy "
            f"them there, or correct {setting}. Nothing was removed."
        )
    return specs


def _below(base: str, source: str) -> Specs:
    specs = Specs(base, [])
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(base, folder)) as entries:
                for entry in entries:
                    specs.seen += 1
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        specs.ignored[HIDDEN] += 1
                    elif entry.is_symlink():
                        specs.ignored[LINK] += 1
                    elif entry.is_dir(follow_symlinks=False):
                        specs.seen -= 1  # what is in it is seen instead
                        folders.append(path)
                    elif entry.name.lower().endswith(".json"):
                        specs.files.append(_seen(path, entry))
                    else:
                        specs.ignored[OTHER_KIND] += 1
        except OSError as error:
            raise unlistable(source, folder, error) from error
    return specs


def _seen(path: str, entry: "os.DirEntry[str]") -> SpecFile:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return SpecFile(path, None, None)
    return SpecFile(path, found.st_size, found.st_mtime_ns)


def _lines(data: bytes) -> list[str]:
    """The lines that name something. Names may hold `#` and blanks, so nothing but the ends of a line is cut off."""
    found = decode(data).replace("\0", "").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line for each in found if parts_of(line := each.strip(" \t\ufeff").strip('"'))]


def _listed(base: str, lines: list[str], listed_in: SpecFile, source: str) -> Specs:
    specs = Specs(base, [], listed_in, seen=len(lines))
    files = FilesWithin(base)
    found: dict[str, SpecFile] = {}
    elsewhere: list[Parts] = []
    for line in lines:
        direct = next((each for path in _direct(base, line) if (each := _look(files, path)).size is not None), None)
        if direct is None:
            elsewhere.append(parts_of(line))
        else:
            _take(direct, found, specs)
    for each in _find(base, elsewhere, set(found), source):
        _take(each, found, specs)
    specs.files.extend(found.values())
    return specs


def _take(file: SpecFile, found: dict[str, SpecFile], specs: Specs) -> None:
    if file.path in found:
        specs.ignored[AGAIN] += 1
    else:
        found[file.path] = file


def _direct(base: str, line: str) -> Iterator[str]:
    """Where a line says that its spec is: below the base, `\\` meaning `/` unless a name holds it."""
    plain = line.replace("\\", "/")
    if plain.startswith(f"{base}/"):
        yield "/".join(parts_of(plain.removeprefix(base)))
    elif not is_absolute(line):
        yield "/".join(parts_of(line))
        if "\\" in line:
            yield line


def _find(base: str, elsewhere: list[Parts], found: Set[str], source: str) -> Iterator[SpecFile]:
    """Specs that are not where their line says: by the end of their path, unless another line says that it is there
    (then they are missing, too)."""
    if not elsewhere:
        return
    names = {fold(parts[-1]) for parts in elsewhere}
    matches = TailIndex(files_named(base, names, source=source).paths).find_all(elsewhere)
    files = FilesWithin(base)
    for parts in elsewhere:
        match = matches[parts]
        if match.path and (match.sure or match.path not in found):
            yield _look(files, match.path)
        else:
            yield SpecFile("/".join(parts), None, None)


def _look(files: FilesWithin, path: str) -> SpecFile:
    seen = files.stat(path)
    return SpecFile(path, seen and seen.st_size, seen and seen.st_mtime_ns)
