"""Page specs made from a mapping, predictions and texts: a file a page, then the list that names them.

Every row of the mapping ends as a spec or as a page left out for a reason. A spec that would not change is not written,
no file is ever half written, and nothing outside of the folder of specs is touched. The list comes last: whoever reads
it finds every spec that it names.
"""

import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embeddings_dagster.errors import ItemError, SourceError, TooManyBytes
from embeddings_dagster.ids import escape_local_id
from embeddings_dagster.sources.lenient_json import parse
from embeddings_dagster.sources.local_files import is_within, read_within
from embeddings_dagster.sources.named_files import files_named
from embeddings_dagster.sources.page_specs.coco import Predictions, read_predictions
from embeddings_dagster.sources.page_specs.mapping import MappingRow, read_mapping
from embeddings_dagster.sources.page_specs.page import (
    LeftOut,
    Subset,
    Text,
    counts_differ,
    spec_bytes,
    spec_path,
    text_panels,
)
from embeddings_dagster.sources.tails import Match, Parts, TailIndex, fold, named, parts_of

NO_NAME, NO_PICTURE, NO_IMAGE, TWO_IMAGES, REPEATED, COUNTS, NOT_WRITTEN = (
    "its picture has no path that could be used",
    "its picture does not exist, says the mapping",
    "it is not in the predictions",
    "it could be several images of the predictions",
    "an earlier row is the same page",
    "boxes and texts differ in number",
    "its spec could not be written",
)
NO_TEXT, BAD_TEXT, NO_LIST = (
    "its text file was not found",
    "its text file cannot be read",
    "its text file has no list of panels",
)
MOST_BYTES = 64 * 2**20  # of a text file
MARK = b'"page_image_path"'  # is in every spec that is written here


@dataclass(frozen=True)
class Made:
    """What was made. `written` of the `rows` have a spec, `changed` of which were new or other than before; the rest
    was `left_out`. `without_text`, by reason, and `uneven` are among those written. `annotations`: by fate."""

    rows: int
    written: int
    changed: int
    without_text: Mapping[str, int]
    uneven: int
    left_out: tuple[LeftOut, ...]
    annotations: Mapping[str, int]
    list_file: Path

    @property
    def reasons(self) -> dict[str, int]:
        """How many pages were left out, by reason, the most frequent first."""
        return dict(Counter(each.reason for each in self.left_out).most_common())


def make_page_specs(
    mapping: Path,
    coco: Path,
    out: Path,
    *,
    text_root: Path,
    subset: Subset,
    min_score: float,
    categories: Sequence[int],
    list_name: str,
) -> Made:
    """Write the specs of a mapping's pages below `out`, and the list file in it.

    Raises:
        SourceError: the mapping, the predictions or the folder of texts cannot be read, or `out` cannot be written.
    """
    if os.path.realpath(out) == os.path.realpath(text_root):
        raise SourceError(f"{str(out)!r} is the folder of texts, too; choose another one for the specs")
    if os.path.realpath(out / list_name) in map(os.path.realpath, (mapping, coco)):
        raise SourceError(f"the list {list_name!r} would take the place of what is read; choose another name for it")
    rows = read_mapping(mapping)
    predictions = read_predictions(coco, categories=categories, min_score=min_score)
    texts = _Texts(text_root, rows, without=out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        making = _Making(out, predictions, texts, subset)
        for row in rows:
            making.take(row)
        lines = [f"./{path}" if path[0] in ' \t"\ufeff' else path for path in making.written]
        put_file(out / list_name, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise SourceError(
            f"{str(out)!r} cannot be written ({error.strerror}); make room, or correct the path"
        ) from error
    return Made(
        rows=len(rows),
        written=len(making.written),
        changed=making.changed,
        without_text=dict(making.without_text),
        uneven=making.uneven,
        left_out=tuple(making.left_out),
        annotations=dict(predictions.annotations),
        list_file=out / list_name,
    )


class _Texts:
    """The text files of the pages, found below a folder by the end of their paths, but not among the specs."""

    def __init__(self, root: Path, rows: Sequence[MappingRow], *, without: Path) -> None:
        if not root.is_dir():
            raise SourceError(f"the folder of texts {str(root)!r} does not exist; correct --text-root")
        self._root = root
        asked = dict.fromkeys(parts for row in rows for text in row.texts if (parts := parts_of(text)))
        there = files_named(os.path.realpath(root), {fold(parts[-1]) for parts in asked}, source="texts")
        specs = os.path.relpath(os.path.realpath(without), os.path.realpath(root)).replace(os.sep, "/") + "/"
        paths = (path for path in there.paths if not path.startswith(specs))
        self._matches: dict[Parts, Match] = TailIndex(paths).find_all(asked)

    def read(self, row: MappingRow) -> Text:
        matches = [self._matches[parts] for text in row.texts if (parts := parts_of(text))]
        path = next((match.path for match in matches if match.path), "")
        if not path:
            close = next((match for match in matches if match.candidates), None)
            near = f"; near: {named(close.candidates, close.others)}" if close else ""
            return Text(reason=NO_TEXT, detail=(row.texts[0] if row.texts else "the mapping names none") + near)
        location = escape_local_id(path)
        try:
            data = read_within(self._root, location, MOST_BYTES, source="texts", if_missing="not there any more")
            panels = text_panels(parse(data, location).value)
        except TooManyBytes:
            return Text(reason=BAD_TEXT, detail=f"{location}: more than {MOST_BYTES:,} bytes")
        except ItemError as error:
            return Text(reason=BAD_TEXT, detail=str(error))
        return Text(reason=NO_LIST, detail=location) if panels is None else Text(panels)


class _Making:
    """The rows taken so far."""

    def __init__(self, out: Path, predictions: Predictions, texts: _Texts, subset: Subset) -> None:
        self._out = out
        self._root = os.path.realpath(out)
        self._predictions = predictions
        self._texts = texts
        self._subset = subset
        self.written: dict[str, int] = {}
        self.changed = 0
        self.uneven = 0
        self.without_text: Counter[str] = Counter()
        self.left_out: list[LeftOut] = []

    def take(self, row: MappingRow) -> None:
        path = spec_path(row)
        reason, detail = self._obstacle(row, path) or self._make(row, path) or ("", "")
        if reason:
            self.left_out.append(LeftOut(row.line, row.rel_path or row.image_path, reason, detail))
        else:
            self.written[path] = row.line

    def _obstacle(self, row: MappingRow, path: str) -> tuple[str, str] | None:
        """Why a row is no page, as far as that can be told before its text is read."""
        if not path:
            return NO_NAME, "it is empty, absolute, or leads out of the folder"
        if path in self.written:
            return REPEATED, f"line {self.written[path]}"
        if row.exists is False:
            return NO_PICTURE, row.image_path
        found = self._predictions.find(row.ids, row.files)
        if not found:
            return NO_IMAGE, ", ".join((*row.ids, *row.files)) or "the mapping names no id"
        return (TWO_IMAGES, named(found, len(found))) if len(found) > 1 else None

    def _make(self, row: MappingRow, path: str) -> tuple[str, str] | None:
        """Write the spec of a row, or say why there is none."""
        (image,) = self._predictions.find(row.ids, row.files)
        boxes, text = self._predictions.boxes[image], self._texts.read(row)
        differ = "" if text.reason else counts_differ(boxes, text)
        if self._subset == "perfect" and text.reason:
            return text.reason, text.detail
        if self._subset == "perfect" and differ:
            return COUNTS, differ
        obstacle = self._put(path, spec_bytes(row, boxes, text))
        if obstacle:
            return NOT_WRITTEN, obstacle
        self.uneven += bool(differ)
        if text.reason:
            self.without_text[text.reason] += 1
        return None

    def _put(self, path: str, data: bytes) -> str:
        """Write one spec; what kept it from being written. A file that is no page spec is never replaced by one."""
        target = self._out / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if not is_within(os.path.realpath(target.parent), self._root):
                return "a link leads out of the folder of specs"
            before = target.read_bytes() if os.path.lexists(target) else None
            if before is not None and MARK not in before:
                return "a file that is no page spec is there; move it away, or choose another folder"
            if before != data:
                put_file(target, data)
                self.changed += 1
        except OSError as error:
            return str(error.strerror)
        return ""


def put_file(target: Path, data: bytes) -> None:
    """Put a file in its place, whole.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
