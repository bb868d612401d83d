"""Batches as a scraper leaves them, for the tests of the scraped source. Everything is an hour old unless said."""

import json
import os
import time
from pathlib import Path
from typing import Any

from embeddings_dagster.sources import Record, Scan
from embeddings_dagster.sources.scraped import ScrapedSource

HOUR = 3600


def item(number: object, *paths: object, **more: Any) -> dict[str, Any]:
    """An item with all that it must have."""
    found = {"item_id": number, "title": f"Item {number}", "price": 5, "url": f"https://shop.example/{number}"}
    return found | ({"local_image_paths": list(paths)} if paths else {}) | more


def write(root: Path, name: str, content: object) -> Path:
    """A file of bytes, of text, or of JSON."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode("utf-8", "surrogatepass")
    path.write_bytes(content)
    return path


def write_batch(root: Path, folder: str, *items: object, file: str = "batch.json", **facts: object) -> None:
    write(root, f"{folder}/{file}" if folder else file, {"items": list(items), **facts})


def age(root: Path, seconds: float = HOUR) -> None:
    """Make everything below `root` so old."""
    then = time.time() - seconds
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            os.utime(os.path.join(folder, name), (then, then), follow_symlinks=False)


def scanned(root: Path, known: dict[str, str] | None = None, *, prefix: str = "", young: bool = False) -> Scan:
    """A scan, which holds what every scan promises."""
    if not young:
        age(root)
    source = ScrapedSource("shop", root, prefix=prefix)
    scan = source.scan(known)
    check(source, scan)
    return scan


def check(source: ScrapedSource, scan: Scan) -> None:
    rows = scan.entries.to_pylist()
    keys = [(row["batch"].encode(), row["local_id"].encode(), row["ordinal"]) for row in rows]
    assert keys == sorted(set(keys)), "sorted, each once"
    assert {row["record_file"] for row in rows} <= set(scan.files["location"].to_pylist())
    assert scan.left_alone.isdisjoint({row["batch"] for row in rows} | scan.marks.keys())
    assert all(scan.ignored.values())
    looks = source.look(scan.entries["location"])
    for name in ("size", "mtime_ns"):
        assert looks[name].to_pylist() == scan.entries[name].to_pylist(), "a look agrees with the scan"
    for (batch, local_id, ordinal), record in all_records(source, scan).items():
        (row,) = [
            each for each in rows if (each["batch"], each["local_id"], each["ordinal"]) == (batch, local_id, ordinal)
        ]
        assert record.digest() == row["record_hash"]


def all_records(source: ScrapedSource, scan: Scan) -> dict[tuple[str, str, int], Record]:
    """The records of all entries, read by another source object as another process would."""
    other, found = ScrapedSource(source.name, source.root, prefix=source._prefix, text=source._text), {}
    for batch in scan.entries["batch"].unique().to_pylist():
        rows = scan.entries.filter([each == batch for each in scan.entries["batch"].to_pylist()])
        records = other.records(batch, rows)
        assert len(records) == len(rows)
        found |= {(batch, *key): record for key, record in records.items()}
    return found


def record_of(root: Path, local_id: str, ordinal: int = 0) -> Record:
    """The only record of a picture."""
    source = ScrapedSource("shop", root)
    (record,) = [each for key, each in all_records(source, source.scan()).items() if key[1:] == (local_id, ordinal)]
    return record


def listed(scan: Scan) -> list[tuple[str, str, int, str]]:
    """Batch (without its source), local id, ordinal and location of each entry."""
    names = ("batch", "local_id", "ordinal", "location")
    rows = zip(*(scan.entries[name].to_pylist() for name in names), strict=True)
    return [(batch.removeprefix("shop__"), *rest) for batch, *rest in rows]


def reasons(scan: Scan) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for problem in scan.problems:
        found.setdefault(problem.location, []).append(problem.reason)
    return found
