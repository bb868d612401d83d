"""The mapping from pages to predictions and texts: a CSV, a line a page, whose columns older and newer tools name
differently. What a cell means is decided here and nowhere else."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from embeddings_dagster.errors import SourceError
from embeddings_dagster.sources.lenient_json import decode
from embeddings_dagster.sources.local_files import read_named

IMAGE_COLUMNS = ("image_rel_path", "image_path")
ID_COLUMNS = ("predictions_json_id", "coco_image_id", "coco_id_reconstructed")
FILE_COLUMNS = ("predictions_json_filename", "coco_file_name")
TEXT_COLUMNS = ("vlm_json_rel_path", "vlm_json_path", "vlm_json_filename")
TRUE, FALSE = frozenset({"true", "1", "1.0", "yes"}), frozenset({"false", "0", "0.0", "no"})
NOTHING = frozenset({"", "nan", "none", "null"})
DELIMITERS = ",;\t"


@dataclass(frozen=True)
class MappingRow:
    """One page. `line`: where it stands in the file. `ids`, `files`, `texts`: under what its predictions and its text
    may be known, the surest first. `exists`: whether its picture does; None where nothing is said of it."""

    line: int
    rel_path: str
    image_path: str
    exists: bool | None
    ids: tuple[str, ...]
    files: tuple[str, ...]
    texts: tuple[str, ...]


def read_mapping(path: Path) -> list[MappingRow]:
    """The rows of a mapping, in their order; lines without any value are none.

    Raises:
        SourceError: it cannot be read, or has no column that names pictures.
    """
    try:
        text = decode(read_named(path))
    except OSError as error:
        raise SourceError(f"the mapping {str(path)!r} cannot be read ({error.strerror}); correct its path") from error
    text = text.replace("\0", "")
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=header.count))
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        if not set(columns) & set(IMAGE_COLUMNS):
            raise SourceError(
                f"the mapping {str(path)!r} has neither a column {' nor '.join(IMAGE_COLUMNS)}; its first line has "
                f"{', '.join(columns)[:200] or 'nothing'}"
            )
        return [row for values in reader if (row := _row(reader.line_num, columns, values))]
    except csv.Error as error:
        raise SourceError(f"the mapping {str(path)!r}, line {reader.line_num}: {error}; correct it") from error


def _row(line: int, columns: list[str], values: list[str]) -> MappingRow | None:
    cells: dict[str, str] = {}
    for name, value in zip(columns, values, strict=False):  # a ragged line lacks its last cells
        cells.setdefault(name, "" if value.strip().lower() in NOTHING else value.strip())
    if not any(cells.values()):
        return None
    return MappingRow(
        line=line,
        rel_path=cells.get("image_rel_path", ""),
        image_path=cells.get("image_path", ""),
        exists=_flag(cells.get("image_exists", "")),
        ids=_filled(cells, ID_COLUMNS, flags=False),
        files=_filled(cells, FILE_COLUMNS),
        texts=_filled(cells, TEXT_COLUMNS),
    )


def _filled(cells: dict[str, str], names: tuple[str, ...], *, flags: bool = True) -> tuple[str, ...]:
    """The values that are there. `coco_id_reconstructed` is an id in some files and true or false in others."""
    found = (cells.get(name, "") for name in names)
    return tuple(dict.fromkeys(each for each in found if each and (flags or each.lower() not in ("true", "false"))))


def _flag(text: str) -> bool | None:
    if text.lower() in TRUE:
        return True
    return False if text.lower() in FALSE else None
