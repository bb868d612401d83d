"""Catalogues for tests: a source on a file of given bytes, and what its scan says in short."""

from pathlib import Path

from embeddings_dagster.settings_sources import DownloadSettings
from embeddings_dagster.sources import Record, Scan
from embeddings_dagster.sources.base import Plain
from embeddings_dagster.sources.catalog import CatalogSource
from embeddings_dagster.sources.catalog.rows import CatalogRules
from embeddings_dagster.sources.downloads import Downloads

HEADER = "product_id,title,price,image_url\n"
WEB = "https://cdn.example.com/"


def source(folder: Path, data: bytes | str, name: str = "products.csv", **rules: object) -> CatalogSource:
    """The source called `shop` on a file that holds `data`."""
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    downloads = Downloads(folder / "cache", DownloadSettings(private_hosts=["127.0.0.1"]))
    return CatalogSource("shop", path, CatalogRules(**rules), downloads)  # type: ignore[arg-type]


def listed(scan: Scan) -> list[tuple[str, int, str]]:
    """Of each entry, what names it and where it is."""
    return [(each["local_id"], each["ordinal"], each["location"]) for each in scan.entries.to_pylist()]


def told(scan: Scan) -> list[str]:
    """The problems, a line each."""
    return [f"{each.location}: {each.reason}" for each in scan.problems]


def records(opened: CatalogSource) -> dict[tuple[str, int], Record]:
    """Of each entry, its record; proves that it is the one that was listed."""
    entries = opened.scan().entries
    found = dict(opened.records("shop__000001", entries))
    hashes = {(each["local_id"], each["ordinal"]): each["record_hash"] for each in entries.to_pylist()}
    assert {key: record.digest() for key, record in found.items()} == hashes
    return found


def metadata(opened: CatalogSource) -> dict[str, dict[str, Plain]]:
    """The metadata of each item."""
    return {local_id: dict(record.metadata) for (local_id, _), record in records(opened).items()}


def rows_of(scan: Scan) -> int:
    """How many rows are accounted for."""
    return len(set(scan.entries["item_id"].to_pylist())) + sum(scan.ignored.values())
