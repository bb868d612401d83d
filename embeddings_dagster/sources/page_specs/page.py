"""One page of a mapping, decided: the page spec to be written, or the reason why there is none.

Pure. Boxes and texts are paired in order, which is right where there are as many of one as of the other; where there
are not, `perfect` leaves the page out, and `all` keeps every box and every text.
"""

import json
from dataclasses import dataclass
from typing import Literal, NamedTuple

from embeddings_dagster.sources.base import Plain
from embeddings_dagster.sources.comics.text import Lines, read_lines
from embeddings_dagster.sources.lenient_json import under
from embeddings_dagster.sources.page_specs.coco import PanelBox
from embeddings_dagster.sources.page_specs.mapping import MappingRow
from embeddings_dagster.sources.tails import is_absolute, parts_of

Subset = Literal["perfect", "all"]
PANELS = ("panels",)
WRAPPERS = ("result", "page", "data")


class LeftOut(NamedTuple):
    """A page without a spec. `reason` is one of a few, to be counted; `detail` tells this page's own story."""

    line: int
    page: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Text:
    """The text of a page: the lines of its panels, or why there are none."""

    panels: tuple[Lines, ...] = ()
    reason: str = ""
    detail: str = ""


def spec_path(row: MappingRow) -> str:
    """Where a page's spec goes, below the folder of specs; empty where its picture has no name that can be used there.

    A picture keeps its extension in it: `p1.jpg` and `p1.png` are two pages.
    """
    path = row.rel_path.replace("\\", "/")
    if is_absolute(path) or ".." in path.split("/"):
        return ""
    parts = parts_of(path or row.image_path)
    return "" if not parts or any(ord(each) < 32 for part in parts for each in part) else f"{'/'.join(parts)}.json"


def text_panels(value: object) -> tuple[Lines, ...] | None:
    """The lines of each panel of a text file: its list may be at `panels`, at `result`, `page` or `data`, or at any of
    these in the first element of a list. None where it is nowhere."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return None
    inner = (held for _, held in under(value, WRAPPERS) if isinstance(held, dict))
    for each in (value, *inner):
        found = next((held for _, held in under(each, PANELS) if isinstance(held, list)), None)
        if found is not None:
            return tuple(read_lines(panel if isinstance(panel, dict) else {"text": panel}) for panel in found)
    return None


def counts_differ(boxes: list[PanelBox], text: Text) -> str:
    """How the number of boxes differs from that of texts; empty where it does not."""
    if len(boxes) == len(text.panels):
        return ""
    return f"{len(boxes)} boxes, {len(text.panels)} texts"


def spec_bytes(row: MappingRow, boxes: list[PanelBox], text: Text) -> bytes:
    """The page spec. Texts beyond the last box are the page's own, so that nothing that was said is lost."""
    panels: list[Plain] = []
    for at, box in enumerate(boxes):
        lines = text.panels[at] if at < len(text.panels) else Lines()
        panels.append({"panel_coords": [_plain(each) for each in box], "text": lines.plain()})
    spec: dict[str, Plain] = {"page_image_path": row.image_path or row.rel_path, "panels": panels}
    rest = text.panels[len(boxes) :]
    if any(map(any, rest)):
        spec["text"] = Lines(*(tuple(line for lines in rest for line in lines[kind]) for kind in range(3))).plain()
    return (json.dumps(spec, ensure_ascii=False, indent=1) + "\n").encode()


def _plain(number: float) -> int | float:
    return int(number) if number.is_integer() else number
