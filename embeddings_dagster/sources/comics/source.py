"""The comics source: a page for each page spec, with its panels as regions and what is said in them as their text.

The spec is the item: its path below the list's folder is the page's id. Its picture is found below the image root by
the end of the path that the spec writes. What is wrong with one spec costs that page; specs that have not changed since
they were last looked at are not read again.
"""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.errors import BadRecord, NoPicture, ReadFailed, TooManyBytes
from embeddings_dagster.ids import batch_key, escape_local_id, unescape_local_id
from embeddings_dagster.sources.base import LOOK, SCAN, Listed, Picture, Record, Scan
from embeddings_dagster.sources.batch_names import batch_name
from embeddings_dagster.sources.comics import pictures
from embeddings_dagster.sources.comics.listing import Specs, base_of, list_specs
from embeddings_dagster.sources.comics.memory import Memory, Said
from embeddings_dagster.sources.comics.spec import PageSpec, faulty, read_spec
from embeddings_dagster.sources.local_files import look_within, read_within, real_root
from embeddings_dagster.sources.problems import Problems

SPEC = "./"  # begins the location of a page spec; that of a picture never does
MOST_BYTES = 32 * 2**20  # of a page spec: a thousand times a usual one
# A file written twice within one tick of a disk's clock looks the same after both: what is younger is not remembered.
YOUNG = timedelta(seconds=2)
NO_FOLDER = "top level/"  # no folder's path ends like this: the batch of the specs that lie in none


class ComicsSource:
    """The pages of a list of page specs (`path`: a list file, or a folder of specs), their pictures below `images`."""

    threads = 2  # reading and hashing: more of them wait for the same disk

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        cache: Path,
        images: Path | None = None,
        prefix: str = "",
        books: bool = False,
        place: Callable[[str], str] | None = None,
    ) -> None:
        """`images`: default, the folder of `path`. `books`: each folder of specs is a batch. `cache`: a folder for what
        is derived. `place` is how a message names a key of the source's settings."""
        self.name = name
        self.own_batches = books
        self._path = path
        self._images = images
        self._prefix = prefix
        place = place or (lambda key: f"sources.{name}.{key}")
        self._setting, self._images_setting = place("path"), place("images")
        self._memory = Memory(cache / "comics" / f"{name}.sqlite")

    def scan(self, known: Mapping[str, str] | None = None) -> Scan:
        """List every page. All specs are looked at, those that changed are read; nothing is left alone.

        Raises:
            SourceError: the list, or a folder of specs or pictures, is missing, empty, or cannot be read.
        """
        started_at = datetime.now(UTC)
        specs = list_specs(self._path, source=self.name, setting=self._setting)
        said = self._listen(specs, started_at)
        root = real_root(self._image_root(), source=self.name, setting=self._images_setting)
        asked = dict.fromkeys(unescape_local_id(each.image) for each in said if each.image)
        found = pictures.find_pictures(root, asked, source=self.name, setting=self._images_setting)
        self._memory.remember_unfound({each.location: each.reason for each in found.found.values() if each.reason})
        problems = Problems()
        if not specs.files:
            where = escape_local_id(specs.base)
            problems.add(where, f"holds no page spec, which is any *.json; correct {self._setting}, or fill it")
        for problem in found.problems:
            problems.add(problem.location, problem.reason)
        for each in said:
            for reason in each.problems.splitlines():
                problems.add(each.path, reason)
        return Scan(
            self._entries(said, found),
            started_at,
            problems.told(),
            dict(sorted(specs.ignored.items())),
            _files(said, specs),
            listed=Listed("page specs", specs.seen, specs.ignored),
        )

    def look(self, locations: pa.ChunkedArray) -> pa.Table:
        """The size and mtime of some pictures or specs now; see `Source.look`."""
        locations = locations.cast(pa.string())
        is_spec = pc.starts_with(locations, SPEC)
        paths = pc.utf8_slice_codeunits(locations.filter(is_spec), start=len(SPEC))
        specs = self._look_at_specs(paths)
        others = look_within(self._image_root(), locations.filter(pc.invert(is_spec)))
        chosen = np.asarray(is_spec.combine_chunks(), np.bool_)
        place = np.argsort(np.concatenate([np.flatnonzero(chosen), np.flatnonzero(~chosen)]))
        found = pa.concat_tables([specs, others]).take(place)
        return pa.table([locations, found["size"], found["mtime_ns"]], schema=LOOK)

    def records(self, batch: str, rows: pa.Table) -> Mapping[tuple[str, int], Record]:
        """The pages as their specs are now; see `Source.records`. A spec that is gone is a fault like any other."""
        keys = zip(rows["local_id"].to_pylist(), rows["ordinal"].to_pylist(), strict=True)
        return {
            (local_id, ordinal): self._read_spec(local_id.removeprefix(self._prefix)).record
            for local_id, ordinal in keys
            if local_id.startswith(self._prefix)
        }

    def read(self, picture: Picture, cap: int) -> bytes:
        """The bytes of one page's picture; see `Source.read`."""
        location = picture.location
        if location.startswith(SPEC):
            raise NoPicture(f"{location}: this page spec names no picture that could be read; correct it")
        try:
            return read_within(self._image_root(), location, cap, source=self.name, if_missing="is not there")
        except ReadFailed as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            reason = self._memory.why_unfound(location) or "there is no such file"
            raise ReadFailed(
                f"{location}: not found below {str(self._image_root())!r} ({reason}); put it there, or correct "
                f"{self._images_setting}, and run again"
            ) from error

    def locate(self, location: str) -> str:
        """The absolute path of a picture or a spec."""
        root = base_of(self._path) if location.startswith(SPEC) else self._image_root()
        return str(root / unescape_local_id(location.removeprefix(SPEC)))

    def _look_at_specs(self, paths: pa.ChunkedArray) -> pa.Table:
        """Schema `LOOK`, for specs and the list of them, which may be a link to wherever it lies."""
        found = look_within(base_of(self._path), paths)
        is_list = pc.equal(paths, escape_local_id(self._path.name))
        if self._path.is_dir() or not pc.any(is_list).as_py():
            return found
        try:
            seen = os.stat(self._path)
        except OSError:
            return found
        sizes = pc.if_else(is_list, pa.scalar(seen.st_size, pa.int64()), found["size"])
        times = pc.if_else(is_list, pa.scalar(seen.st_mtime_ns, pa.int64()), found["mtime_ns"])
        return pa.table([found["location"], sizes, times], schema=LOOK)

    def _image_root(self) -> Path:
        return self._images or base_of(self._path)

    def _listen(self, specs: Specs, started_at: datetime) -> list[Said]:
        """What each spec says, in the order of the list: as it is remembered, or read anew, and then remembered."""
        remembered = self._memory.recall()
        young = (started_at - YOUNG).timestamp() * 1e9
        out, fresh = [], []
        for file in specs.files:
            path = escape_local_id(file.path)
            before = remembered.get(path)
            if before and (before.size, before.mtime_ns) == (file.size, file.mtime_ns):
                out.append(before)
                continue
            page = self._read_spec(path)
            record = page.record
            image = escape_local_id(page.image)
            out.append(Said(path, file.size, file.mtime_ns, image, record.digest(), "\n".join(page.problems)))
            may_heal = record.fault is not None and record.fault.retryable
            if file.mtime_ns is not None and file.mtime_ns < young and not may_heal:
                fresh.append(out[-1])
        gone = remembered.keys() - {each.path for each in out}
        self._memory.remember(fresh, gone)
        return out

    def _read_spec(self, path: str) -> PageSpec:
        """The page of one spec, `path` being escaped; what keeps it from being read is its record's fault."""
        missing = "there is no page spec there; put it back, or take it out of the list"
        try:
            data = read_within(base_of(self._path), path, MOST_BYTES, source=self.name, if_missing=missing)
        except TooManyBytes:
            return faulty(BadRecord(f"{path}: more than {MOST_BYTES:,} bytes are no page spec; correct the list"))
        except ReadFailed as error:
            return faulty(error)
        return read_spec(data, path)

    def _entries(self, said: list[Said], found: pictures.Pictures) -> pa.Table:
        """Schema `SCAN`. A page without a picture has the place of its spec, so that it is seen to change with it."""
        rows = [
            found.found[unescape_local_id(each.image)]
            if each.image
            else pictures.Picture(SPEC + each.path, each.size, each.mtime_ns, "")
            for each in said
        ]
        ids = pa.array([self._prefix + each.path for each in said], pa.string())
        table = pa.table(
            [
                ids,
                ids,
                pa.repeat(pa.scalar(0, pa.int32()), len(said)),
                pa.array(self._batches(said), pa.string()),
                [row.location for row in rows],
                pa.array([row.size for row in rows], pa.int64()),
                pa.array([row.mtime_ns for row in rows], pa.int64()),
                pa.nulls(len(said), pa.string()),
                [each.record_hash for each in said],
                [SPEC + each.path for each in said],
            ],
            schema=SCAN,
        )
        return table.sort_by([("batch", "ascending"), ("local_id", "ascending")])

    def _batches(self, said: list[Said]) -> list[str | None]:
        if not self.own_batches:
            return [None] * len(said)
        folders = [unescape_local_id(each.path).rpartition("/")[0] for each in said]
        keys = {each: batch_key(self.name, batch_name(each or NO_FOLDER)) for each in set(folders)}
        return [keys[each] for each in folders]


def _files(said: list[Said], specs: Specs) -> pa.Table:
    """Schema `LOOK`: the specs as they were when they were looked at, and the list of them."""
    files = [(SPEC + each.path, each.size, each.mtime_ns) for each in said]
    if specs.listed_in and specs.listed_in not in specs.files:
        files.append((SPEC + escape_local_id(specs.listed_in.path), *specs.listed_in[1:]))
    locations, sizes, times = zip(*files, strict=True) if files else ((), (), ())
    return pa.table([pa.array(locations, pa.string()), pa.array(sizes, pa.int64()), pa.array(times, pa.int64())], LOOK)
