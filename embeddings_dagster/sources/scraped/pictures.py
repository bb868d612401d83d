"""The pictures of a scraped item, as its record names them or as its folder holds them; looked at, not read.

Each entry of `local_image_paths` is a picture, its place in the list the ordinal, whether it is there or not: nothing
moves up. Where the record has no such list, the pictures are those in `images/<item id>/`, in natural order.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from embeddings_dagster.errors import BadRecord, ItemError, NoPicture
from embeddings_dagster.ids import escape_local_id, natural_key
from embeddings_dagster.sources.local_files import EXTENSIONS, FilesWithin
from embeddings_dagster.sources.scraped.items import PATHS
from embeddings_dagster.sources.scraped.names import IMAGES
from embeddings_dagster.sources.scraped.paths import PathReader, is_folder_name

NOWHERE = ""  # the location of a picture whose record does not say where it is


class Pictured(NamedTuple):
    """One picture of an item; its ordinal is its place. `size` and `mtime_ns` are None where it is not there."""

    location: str
    size: int | None = None
    mtime_ns: int | None = None
    fault: ItemError | None = None


class ItemPictures:
    """Finds the pictures of the items of one batch. `incomplete` after it: a picture may come without any change of
    what the batch's mark is made of."""

    def __init__(self, root: str, paths: PathReader, folder: str, record_file: str) -> None:
        """`root`: a real path. `folder`, `record_file`: of the batch, relative to it."""
        self.incomplete = False
        self._root = root
        self._paths = paths
        self._folder = folder
        self._where = escape_local_id(record_file)
        self._files = FilesWithin(root)

    def find(self, item: Mapping[str, object], item_id: str, name: str) -> list[Pictured]:
        """The pictures of an item, at least one: the fault of having none is listed too. `name` is how a message names
        the item.

        Raises:
            OSError: its folder cannot be listed.
        """
        named = next((item[key] for key in PATHS if item.get(key)), None)
        if isinstance(named, str):
            named = [named]
        if isinstance(named, list):
            return [self._named(path, at, item_id, name) for at, path in enumerate(named)]
        found = self._in_its_folder(item_id)
        return found or [Pictured(NOWHERE, fault=self._has_none(item, item_id, name))]

    def _named(self, path: object, at: int, item_id: str, name: str) -> Pictured:
        if not isinstance(path, str) or not path.strip():
            return Pictured(NOWHERE, fault=NoPicture(f"{self._entry(at, name)} names no file; correct it"))
        try:
            readings = self._paths.readings(path, self._folder, item_id)
        except BadRecord as error:
            told = f"{self._entry(at, name)}: {error}, and is not read; give a path relative to the batch's folder"
            return Pictured(NOWHERE, fault=BadRecord(told))
        for reading in readings:
            found = self._files.stat(reading)
            if found:
                return Pictured(escape_local_id(reading), found.st_size, found.st_mtime_ns)
        self.incomplete = True
        return Pictured(escape_local_id(self._paths.home(readings, self._folder)))

    def _in_its_folder(self, item_id: str) -> list[Pictured]:
        if not is_folder_name(item_id):
            return []
        folder = "/".join(filter(None, (self._folder, IMAGES, item_id)))
        if not self._files.has_folder(folder):
            return []
        names = [
            name
            for name in os.listdir(os.path.join(self._root, folder))
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS
        ]
        found = []
        for name in sorted(names, key=lambda name: (natural_key(name), name)):
            state = self._files.stat(f"{folder}/{name}")
            if state:
                found.append(Pictured(escape_local_id(f"{folder}/{name}"), state.st_size, state.st_mtime_ns))
        self.incomplete |= not found
        return found

    def _has_none(self, item: Mapping[str, object], item_id: str, name: str) -> NoPicture:
        place = f"{IMAGES}/{escape_local_id(item_id)}/"
        remedy = "; give it some"
        if is_folder_name(item_id):
            remedy = f", and there is no picture in {place}: put one there, or name it"
        urls = "; its image_urls are not downloaded: a catalog source does that" if item.get("image_urls") else ""
        return NoPicture(f"{self._where}: {name}: has no local_image_paths{remedy}{urls}")

    def _entry(self, at: int, name: str) -> str:
        return f"{self._where}: {name}: local_image_paths[{at}]"
