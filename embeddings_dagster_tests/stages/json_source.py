"""A source over a folder of batches, `<batch>/batch.json` and pictures beside it, that does what the contract says.

It remembers what it was asked to read, so that tests can tell what was left alone.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from PIL import Image

from embeddings_dagster import ids
from embeddings_dagster.errors import NoPicture, ReadFailed, SourceError
from embeddings_dagster.sources import LOOK, SCAN, Picture, Record, RegionRecord, Scan

NAME = "shop"


class JsonSource:
    """`own_batches` False has the ledger cut the batches; `whole` gives one mark for all of it."""

    name = NAME
    threads = 2

    def __init__(self, root: Path, *, own_batches: bool = True, whole: bool = False) -> None:
        self.root = root
        self.own_batches = own_batches
        self.whole = whole
        self.parsed: list[str] = []
        self.known: list[Mapping[str, str] | None] = []
        self.broken = False

    def scan(self, known: Mapping[str, str] | None = None) -> Scan:
        self.known.append(known)
        started_at = datetime.now(UTC)
        files = sorted(self.root.glob("*/batch.json"))
        looks = {self._location(file): self._stat(file) for file in files}
        mark = hashlib.sha256(repr(sorted(looks.items())).encode()).hexdigest()
        if self.whole and known and known.get("") == mark:
            return Scan(SCAN.empty_table(), started_at, left_alone=frozenset({""}))
        rows, marks, alone, scraped_at, read = [], {"": mark} if self.whole else {}, set(), {}, []
        for file in files:
            key = ids.batch_key(NAME, file.parent.name)
            own = repr(looks[self._location(file)])
            if self.own_batches and known and known.get(key) == own:
                alone.add(key)
                continue
            rows += self._rows(key, file)
            read.append(self._location(file))
            if self.own_batches:
                marks[key] = own
                if told := json.loads(file.read_text()).get("scraped_at"):
                    scraped_at[key] = datetime.fromisoformat(told)
        rows.sort(key=lambda row: (row["batch"] or "", row["local_id"], row["ordinal"]))
        seen = [{"location": name, "size": looks[name][0], "mtime_ns": looks[name][1]} for name in read]
        return Scan(
            pa.Table.from_pylist(rows, schema=SCAN),
            started_at,
            files=pa.Table.from_pylist(seen, schema=LOOK),
            scraped_at=scraped_at,
            left_alone=frozenset(alone),
            marks=marks,
        )

    def _rows(self, key: str, file: Path) -> list[dict[str, object]]:
        rows = []
        for (local_id, ordinal), (location, record) in self._parse(file).items():
            size, mtime_ns = (None, None) if "://" in location else self._stat(self.root / location)
            rows.append(
                {
                    "local_id": local_id,
                    "item_id": local_id,
                    "ordinal": ordinal,
                    "batch": key if self.own_batches else None,
                    "location": location,
                    "size": size,
                    "mtime_ns": mtime_ns,
                    "record_hash": record.digest(),
                    "record_file": self._location(file),
                }
            )
        return rows

    def _parse(self, file: Path) -> dict[tuple[str, int], tuple[str, Record]]:
        self.parsed.append(file.parent.name)
        document = json.loads(file.read_text())
        told = document.get("scraped_at")
        found = {}
        for item in document["items"]:
            regions = [RegionRecord(0, text=item["text"])] if "text" in item else []
            regions += [RegionRecord(number, **panel) for number, panel in enumerate(item.get("panels", ()), start=1)]
            names = item.get("pictures", [])
            record = Record(
                item.get("metadata", {}),
                datetime.fromisoformat(told) if told else None,
                tuple(regions),
                None if names else NoPicture(f"{item['id']}: its record names no picture"),
            )
            for ordinal, name in enumerate(names or [""]):
                place = name if "://" in name or not name else f"{file.parent.name}/{name}"
                found[item["id"], ordinal] = (place, record)
        return found

    def look(self, locations: pa.ChunkedArray) -> pa.Table:
        stats = [self._stat(self.root / location) for location in locations.to_pylist()]
        return pa.table([locations.cast(pa.string()), [s for s, _ in stats], [t for _, t in stats]], schema=LOOK)

    def records(self, batch: str, rows: pa.Table) -> Mapping[tuple[str, int], Record]:
        if self.broken:
            raise SourceError(f"source {NAME!r}: its records cannot be read")
        found = {}
        for file in sorted(self.root.glob("*/batch.json")):
            if not self.own_batches or ids.batch_key(NAME, file.parent.name) == batch:
                found |= {key: record for key, (_, record) in self._parse(file).items()}
        wanted = set(zip(rows["local_id"].to_pylist(), rows["ordinal"].to_pylist(), strict=True))
        return {key: record for key, record in found.items() if key in wanted}

    def read(self, picture: Picture, cap: int) -> bytes:
        try:
            return (self.root / picture.location).read_bytes()[: cap + 1]
        except OSError as error:
            raise ReadFailed(f"{picture.location}: not there") from error

    def locate(self, location: str) -> str:
        return str(self.root / location)

    def _location(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()

    @staticmethod
    def _stat(path: Path) -> tuple[int | None, int | None]:
        try:
            found = os.stat(path)
        except OSError:
            return None, None
        return found.st_size, found.st_mtime_ns


class Pile:
    """Writes what a `JsonSource` reads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._time = 10**18

    def batch(self, name: str, *items: Mapping[str, object], scraped_at: str | None = None) -> None:
        """Write `<name>/batch.json`, with a time that no coarse clock takes for that of the one before."""
        file = self.root / name / "batch.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"scraped_at": scraped_at, "items": list(items)}))
        self._touch(file)

    def paint(self, name: str, *pictures: str, colour: str = "red", size: tuple[int, int] = (16, 12)) -> None:
        """Pictures of one colour beside a batch's JSON."""
        (self.root / name).mkdir(exist_ok=True)
        for picture in pictures:
            Image.new("RGB", size, colour).save(self.root / name / picture)
            self._touch(self.root / name / picture)

    def _touch(self, file: Path) -> None:
        self._time += 10**9
        os.utime(file, ns=(self._time, self._time))


def item(name: str, *pictures: str, **more: object) -> dict[str, object]:
    """An item with one picture of its own name, or with those that are named."""
    return {"id": name, "pictures": list(pictures) or [f"{name}.png"], **more}
