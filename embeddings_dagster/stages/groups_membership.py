"""Which group each picture of a source is in, by a field of the records or by a CSV file."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from embeddings_dagster import ids
from embeddings_dagster.catalog import Catalogue, Filter, Record
from embeddings_dagster.errors import SourceError
from embeddings_dagster.ids import WHOLE
from embeddings_dagster.settings_sources import GroupSettings
from embeddings_dagster.sources.lenient_json import decode
from embeddings_dagster.sources.local_files import read_named
from embeddings_dagster.store import Store

PAGE = 10_000  # records read at one time
ID, GROUP = "id", "group"


def groups_by_field(store: Store, source: str, field: str) -> Iterator[tuple[str, str]]:
    """Image id and group of every picture whose record has a value in the field, as the catalogue has them.

    Of a list the first value counts.

    Raises:
        IndexUnavailable: there is no catalogue yet.
    """
    with Catalogue(store).open() as snapshot:
        wanted = Filter(sources=(source,), regions=WHOLE)
        records = snapshot.find(wanted, limit=PAGE)
        while records:
            for record in records:
                group = _value(record, field)
                if group:
                    yield record.image_id, group
            records = snapshot.find(wanted, limit=PAGE, after=records[-1].cursor)


def _value(record: Record, field: str) -> str:
    value = record.metadata.get(field)
    if value is None and field == "item_id":
        value = record.item_id
    if isinstance(value, list):
        value = value[0] if value else None
    return "" if value is None or isinstance(value, dict) else str(value).strip()


def groups_by_file(path: Path, source: str, images: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Image id and group of those of `images` that the file names: by image id, by local id, by local id without its
    extension, or by its last part alone; every picture of an item is in its group.

    Raises:
        SourceError: the file cannot be read, or has no columns `id` and `group`.
    """
    named = _read(path)
    for image_id in images:
        local = image_id.removeprefix(f"{source}:")
        item = local.partition("#")[0]
        stem = item.rpartition(".")[0] if "." in item.rpartition("/")[2] else item
        for name in (image_id, local, item, stem, stem.rpartition("/")[2]):
            if name in named:
                yield image_id, named[name]
                break


def _read(path: Path) -> Mapping[str, str]:
    remedy = "correct it, or `groups` of the source"
    try:
        reader = csv.DictReader(io.StringIO(decode(read_named(path)), newline=""))
        columns = {name.strip().casefold(): name for name in reader.fieldnames or () if name}
        if ID not in columns or GROUP not in columns:
            raise SourceError(f"the groups file {path} has no columns {ID} and {GROUP}; {remedy}")
        rows = [(row[columns[ID]] or "", row[columns[GROUP]] or "") for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise SourceError(f"the groups file {path} cannot be read ({error}); {remedy}") from error
    # Ids are written as people see them; in the store they are escaped.
    found = {}
    for name, group in rows:
        if name.strip() and group.strip():
            found[name.strip()] = found[ids.escape_local_id(name.strip())] = group.strip()
    return found


def groups_of(
    store: Store, root: Path, source: str, settings: GroupSettings, images: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Image id and group of the pictures of a source that are in any. `root`: where relative paths start.

    Raises:
        IndexUnavailable, SourceError: as `groups_by_field` and `groups_by_file`.
    """
    if settings.file is not None:
        return groups_by_file((root / os.path.expanduser(settings.file)).absolute(), source, images)
    assert settings.field is not None
    return groups_by_field(store, source, settings.field)
