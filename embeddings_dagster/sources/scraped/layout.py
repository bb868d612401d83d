"""Where the batches of a scraped source lie, told from names and states of files; none is opened.

A folder with `batch.json` (or `items.json`) is a batch and is not searched further. In every other folder, the root
among them, each `*.json` and `*.jsonl` is a batch of its own, and its folders are searched in turn, but for those named
`images`, which hold pictures, and hidden ones. A folder with pictures whose batch file has yet to come, and one named
like a batch (`batch_20240131_235959`, `20240131_235959`), is named as unfinished. A folder with pictures beside batch
files is taken to be theirs.
"""

import os
import stat
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from embeddings_dagster.ids import escape_local_id
from embeddings_dagster.sources.batch_names import batch_name, is_hashed
from embeddings_dagster.sources.local_files import EXTENSIONS, FilesWithin
from embeddings_dagster.sources.named_files import unlistable
from embeddings_dagster.sources.problems import Problems
from embeddings_dagster.sources.scraped.marks import mark
from embeddings_dagster.sources.scraped.names import BATCH_FILES, FLAT, IMAGES, STAMPED, is_hidden

HIDDEN, LINKED_FOLDER, NOT_A_FILE, OTHER_KIND, LOOSE, UNFINISHED, SECOND = (
    "hidden",
    "linked folder, not entered",
    "not a regular file",
    "neither a picture nor a batch file by its extension",
    "picture outside of a batch",
    "folder without a batch file as yet, left for the next look",
    "items.json beside a batch.json",
)
FORSAKEN_SECONDS = 3600  # a scraper that has not written its batch file for so long has probably died


class Place(NamedTuple):
    """One batch: `name` (a part of its key), the folder that its pictures' paths start from, and its batch file, both
    relative to the root. `mark` changes when the file, its folder or the `images` in it do; None: too young for one."""

    name: str
    folder: str
    record_file: str
    mark: str | None


class Layout(NamedTuple):
    """All batches of a source, sorted by name, and the names of those whose batch file is not there as yet."""

    places: list[Place]
    unfinished: frozenset[str]


def find_batches(root: str, source: str, problems: Problems, ignored: Counter[str]) -> Layout:
    """Search a source's folder, `root` being a real path. Time is linear in the number of batches. What is passed over
    is told to `problems` and counted in `ignored`.

    Raises:
        SourceError: a folder cannot be listed.
    """
    return _Walk(root, source, problems, ignored).layout()


def place_of(root: str, source: str, name: str, near: Iterable[str] = ()) -> Place | None:
    """One batch by its name; None where it is not there any more. A name with a hash makes a search necessary, unless
    one of the files in `near` lies within its folder.

    Raises:
        SourceError: a folder cannot be listed.
    """
    walk = _Walk(root, source, Problems(), Counter())
    if name.startswith("."):
        return None
    if not is_hashed(name):
        return walk.place_at(name)
    for folder in dict.fromkeys(folder for path in near for folder in _above(path)):
        if batch_name(folder) == name:
            return walk.place_at(folder)
    return next((place for place in walk.layout().places if place.name == name), None)


def _above(path: str) -> list[str]:
    names = path.split("/")[:-1]
    return ["/".join(names[:count]) for count in range(len(names), 0, -1)]


@dataclass
class _Content:
    """What one folder holds. `pictures` counts those that lie in it directly, `batches` those directly below."""

    inner: list[str] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)
    pictures: int = 0
    images: bool = False
    batches: int = 0


class _Walk:
    """One pass. Paths are relative to the root, `/` between their parts."""

    def __init__(self, root: str, source: str, problems: Problems, ignored: Counter[str]) -> None:
        self._root = root
        self._source = source
        self._problems = problems
        self._ignored = ignored
        self._files = FilesWithin(root)
        self._now = time.time()
        self._places: dict[str, Place] = {}
        self._unfinished: set[str] = set()
        self._with_flat: set[str] = set()  # folders with batch files that are not alone in theirs

    def layout(self) -> Layout:
        folders = [""]
        while folders:
            folders += self._search(folders.pop())
        places = [self._places[name] for name in sorted(self._places)]
        return Layout(places, frozenset(self._unfinished - self._places.keys()))

    def place_at(self, path: str) -> Place | None:
        try:
            if path.lower().endswith(FLAT) and self._regular(path):
                self._take_flat("", path)
            else:
                self._take_folder(path)
        except OSError as error:
            raise unlistable(self._source, path, error) from error
        return self._places.get(batch_name(path))

    def _search(self, folder: str) -> list[str]:
        """Take in the batches of one folder; returns the folders to search next."""
        content = _Content()
        path = folder
        try:
            with os.scandir(os.path.join(self._root, folder)) as found:
                for entry in found:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    self._sort(entry, path, content)
            path = folder
            flat_batches = self._take_all_flat(folder, content.flat)
            if flat_batches:
                self._with_flat.add(folder)
            self._judge(folder, content, flat_batches)
        except OSError as error:
            raise unlistable(self._source, path, error) from error
        return content.inner

    def _sort(self, entry: "os.DirEntry[str]", path: str, content: "_Content") -> None:
        name = entry.name
        if is_hidden(name):
            self._ignored[HIDDEN] += 1
        elif entry.is_dir(follow_symlinks=False):
            if name.lower() == IMAGES:
                content.images = True
            elif self._take_folder(path):
                content.batches += 1
            else:
                content.inner.append(path)
        elif name.lower().endswith(FLAT):
            content.flat.append(path)
        elif os.path.splitext(name)[1].lower() in EXTENSIONS:
            content.pictures += 1
        elif entry.is_symlink() and os.path.isdir(entry.path):
            self._ignored[LINKED_FOLDER] += 1
        else:
            self._ignored[OTHER_KIND] += 1

    def _judge(self, folder: str, content: "_Content", flat_batches: int) -> None:
        """Whether a folder that is no batch is going to be one."""
        above, _, name = folder.rpartition("/")
        stamped = STAMPED.fullmatch(name)
        if folder and (content.images or content.pictures or stamped):
            # Even if it holds batches: its own file may be away for the moment in which it is written anew.
            self._unfinished.add(batch_name(folder))
            if not content.batches and not flat_batches and (stamped or above not in self._with_flat):
                self._leave_unfinished(folder)
        elif content.pictures and not flat_batches:
            self._ignored[LOOSE] += content.pictures

    def _take_folder(self, folder: str) -> bool:
        """Whether a folder is a batch; if so, it is taken."""
        for at, name in enumerate(BATCH_FILES):
            record_file = f"{folder}/{name}"
            found = self._regular(record_file)
            if found:
                self._take(folder, folder, record_file, found, os.lstat(os.path.join(self._root, folder)))
                for other in BATCH_FILES[at + 1 :]:
                    self._report_second(f"{folder}/{other}")
                return True
        return False

    def _take_all_flat(self, folder: str, paths: list[str]) -> int:
        first = next((path for name in BATCH_FILES for path in paths if path.rpartition("/")[2] == name), None)
        taken = 0
        for path in paths:
            if path != first and path.rpartition("/")[2] in BATCH_FILES:
                self._report_second(path)
            elif self._take_flat(folder, path):
                taken += 1
        return taken

    def _take_flat(self, folder: str, path: str) -> bool:
        found = self._regular(path)
        if found is None:
            self._ignored[NOT_A_FILE] += 1
            return False
        self._take(path, folder, path, found)
        return True

    def _take(self, path: str, folder: str, record_file: str, *states: os.stat_result) -> None:
        name = batch_name(path)
        if name in self._places:  # one hash for two paths: a chance of one in a million for a million batches
            other = escape_local_id(self._places[name].record_file)
            self._report(record_file, f"would be named like the batch of {other}; rename one of them")
            return
        with_images = (*states, self._state(f"{folder}/{IMAGES}" if folder else IMAGES))
        self._places[name] = Place(name, folder, record_file, mark(with_images, self._now))

    def _state(self, path: str) -> os.stat_result | None:
        try:
            return os.stat(os.path.join(self._root, path))
        except OSError:  # most have none, and without it there is less to compare, no more
            return None

    def _regular(self, path: str) -> os.stat_result | None:
        """The state of a file that may be opened; None where there is none."""
        try:
            found = os.lstat(os.path.join(self._root, path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISLNK(found.st_mode):
            followed = self._files.stat(path)
            if followed is None:
                self._report(path, "is a link out of the source's folder, or to nothing; put the file itself there")
            return followed
        return found if stat.S_ISREG(found.st_mode) else None

    def _report_second(self, path: str) -> None:
        if self._regular(path):
            self._ignored[SECOND] += 1
            self._report(path, f"is not read, for there is a {BATCH_FILES[0]} beside it; delete one of them")

    def _leave_unfinished(self, folder: str) -> None:
        self._ignored[UNFINISHED] += 1
        if self._now - os.lstat(os.path.join(self._root, folder)).st_mtime > FORSAKEN_SECONDS:
            names = " or ".join(BATCH_FILES)
            self._report(folder, f"has had no {names} for an hour; if its scraper has died, scrape again or delete it")

    def _report(self, path: str, reason: str) -> None:
        self._problems.add(escape_local_id(path), reason)
