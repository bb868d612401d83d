"""A small table that is remembered under `cache/` from one look at a source to the next.

It is derived: it may be deleted or damaged at any time, and then nothing is remembered.
"""

import os
import uuid
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


class RememberedTable:
    """One table of a given schema in one file."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._schema = schema

    def recall(self) -> pa.Table:
        """What is remembered; nothing, if the file is not there, damaged, or of another kind."""
        try:
            table = pq.ParquetFile(self._path, page_checksum_verification=True).read()
            return table.select(self._schema.names).cast(self._schema)
        except (OSError, KeyError, ValueError, pa.ArrowException):
            return self._schema.empty_table()

    def remember(self, table: pa.Table) -> None:
        """Replace what is remembered, whole or not at all; without room or permission, nothing new is."""
        with suppress(OSError):
            self._remember(table)

    def _remember(self, table: pa.Table) -> None:
        if table.equals(self.recall()):
            return
        if not len(table):
            self._path.unlink(missing_ok=True)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex}.tmp")
        try:
            pq.write_table(table, temporary, write_page_checksum=True)
            os.replace(temporary, self._path)
        finally:
            temporary.unlink(missing_ok=True)
