import hashlib
import io
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.ids import Key
from embeddings_dagster.store.files_local import LocalFiles
from embeddings_dagster.store.parts import Part, write_part
from embeddings_dagster.store.tables import RAW, RGB, Table, embeddings

PICTURE = np.random.default_rng(7).bytes(1000)


def rgb_row(number: int) -> dict[str, object]:
    return {
        "image_id": f"art:{number}",
        "region": number,
        "input_hash": f"h{number}",
        "image": {"bytes": PICTURE, "path": "a.png"},
        "thumbnail": PICTURE[:100],
        "run_id": "run",
    }


def write(path: Path, table: Table, rows: list[dict[str, object]], row_group_bytes: int = 10**6) -> pq.ParquetFile:
    batches = [pa.RecordBatch.from_pylist([row], table.schema) for row in rows]
    write_part(LocalFiles(path), "part", table.schema, batches, row_group_bytes)
    return pq.ParquetFile(path / "part")


def columns(file: pq.ParquetFile) -> dict[str, pq.ColumnChunkMetaData]:
    group = file.metadata.row_group(0)
    return {group.column(n).path_in_schema: group.column(n) for n in range(group.num_columns)}


def test_a_part_reads_back_as_it_was_written(tmp_path: Path) -> None:
    rows = [rgb_row(number) for number in range(5)]
    file = write(tmp_path, RGB, rows)
    assert file.schema_arrow.equals(RGB.schema)
    assert file.read().equals(pa.Table.from_pylist(rows, RGB.schema))


def test_what_is_written_is_what_is_promised(tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_pylist([rgb_row(1), rgb_row(2)], RGB.schema)
    written = write_part(LocalFiles(tmp_path), "part", RGB.schema, [batch], 10**6)
    data = (tmp_path / "part").read_bytes()
    assert written == (2, len(data), hashlib.sha256(data).hexdigest())


def test_row_groups_keep_to_their_bytes(tmp_path: Path) -> None:
    file = write(tmp_path, RGB, [rgb_row(number) for number in range(20)], row_group_bytes=5000)
    sizes = [file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups)]
    assert len(sizes) >= 5
    assert max(sizes) < 6000


def test_a_row_larger_than_a_row_group_has_one_for_itself(tmp_path: Path) -> None:
    file = write(tmp_path, RGB, [rgb_row(number) for number in range(3)], row_group_bytes=10)
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [1, 1, 1]


def test_pictures_and_floats_are_not_compressed_and_text_is(tmp_path: Path) -> None:
    rgb = columns(write(tmp_path / "rgb", RGB, [rgb_row(1)]))
    assert {path for path, column in rgb.items() if column.compression == "UNCOMPRESSED"} == {
        "image.bytes",
        "thumbnail",
    }
    row = {"image_id": "a", "region": 0, "input_hash": "h", "embedding": [1.0, 2.0]}
    vectors = columns(write(tmp_path / "vectors", embeddings(2), [row]))
    assert {path for path, column in vectors.items() if column.compression == "UNCOMPRESSED"} == {
        "embedding.list.element",
        "norm",
    }
    raw = columns(write(tmp_path / "raw", RAW, [{"image_id": "a", "input_hash": "h"}]))
    assert {column.compression for column in raw.values()} == {"ZSTD"}


def test_only_key_columns_have_statistics(tmp_path: Path) -> None:
    rgb = columns(write(tmp_path, RGB, [rgb_row(1)]))
    assert {path for path, column in rgb.items() if column.is_stats_set} == {"image_id", "region", "input_hash"}


def test_keys_are_told_and_a_table_without_regions_has_whole_images(tmp_path: Path) -> None:
    write(tmp_path / "rgb", RGB, [rgb_row(3)])
    write(tmp_path / "raw", RAW, [{"image_id": "a", "input_hash": "h"}])
    with (tmp_path / "rgb/part").open("rb") as rgb, (tmp_path / "raw/part").open("rb") as raw:
        assert Part(rgb, "part").row_keys() == [Key("art:3", 3)]
        assert Part(raw, "part").row_keys() == [Key("a", 0)]


def test_a_bit_that_flips_in_any_page_is_an_error_without_any_sha256(tmp_path: Path) -> None:
    rows = [rgb_row(number) for number in range(5)]
    good = write(tmp_path, RGB, rows).read()
    data = (tmp_path / "part").read_bytes()
    generator = np.random.default_rng(3)
    footer = int.from_bytes(data[-8:-4], "little")
    silent: list[int] = []
    for position in generator.integers(4, len(data) - footer - 8, 60):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(generator.integers(8))
        (tmp_path / "part").write_bytes(damaged)
        with (tmp_path / "part").open("rb") as handle, suppress(CorruptFile):
            if not Part(handle, "the part").read().equals(good):
                silent.append(position)
    assert silent == []


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"not a parquet file at all"])
def test_a_file_that_is_no_part_is_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "part").write_bytes(data)
    with (tmp_path / "part").open("rb") as handle, pytest.raises(CorruptFile, match="the part cannot be parsed"):
        Part(handle, "the part")


class Watched(io.BytesIO):
    """A file that notes which threads read it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.threads: set[int] = set()

    def read(self, size: int | None = -1) -> bytes:
        self.threads.add(threading.get_ident())
        return super().read(size)


def test_a_part_is_read_by_the_thread_that_asks_alone(tmp_path: Path) -> None:
    """A thread of Arrow's that still held the file when the process ends would abort it."""
    columns = {f"c{number}": [str(each) * 50 for each in range(2000)] for number in range(12)}
    table = pa.table({"image_id": [str(each) for each in range(2000)], **columns})
    write_part(LocalFiles(tmp_path), "part", table.schema, table.to_batches(), 2**16)
    handle = Watched((tmp_path / "part").read_bytes())
    part = Part(handle, "part")
    assert part.read().equals(table)
    part.read_group(0)
    assert handle.threads == {threading.get_ident()}
