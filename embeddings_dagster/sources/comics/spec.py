"""One page spec, read: which picture it names, and the page's record.

Whatever the bytes are, the answer is a record; what is wrong with a panel costs that panel's box, and what is wrong
beside the picture and the panels costs nothing but itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from embeddings_dagster.errors import BadRecord, ItemError, NoPicture
from embeddings_dagster.sources.base import Plain, Record, RegionRecord
from embeddings_dagster.sources.comics.panels import read_panel
from embeddings_dagster.sources.comics.text import read_lines
from embeddings_dagster.sources.lenient_json import clean, parse, under
from embeddings_dagster.sources.tails import parts_of

RULES = 1  # goes up when the same bytes are to be read otherwise than before
IMAGE_KEYS = ("page_image_path", "image_path", "image", "img_path", "path")
PANEL_KEYS = (
    "panels", "vlm_panels", "panel_detections", "rcnn_panels", "panel_boxes", "panel_list", "detections", "boxes",
    "segments", "annotations",
)  # fmt: skip
MOST_PANELS = 32_767  # region numbers are 16-bit integers
MOST_KEYS = 64
LONGEST_KEY = 100
LONGEST_TEXT = 10_000
MOST_VALUES = 100
INTEGERS = range(-(2**63), 2**63)


@dataclass(frozen=True)
class PageSpec:
    """`image`: the picture's path as the spec writes it, empty where it names none. `problems`: what was not taken of
    the spec, though the page was."""

    record: Record
    image: str = ""
    problems: tuple[str, ...] = ()


def read_spec(data: bytes, name: str) -> PageSpec:
    """The page of a spec; `name` is how messages call it. Never raises.

    A list stands for its first element. Region 0 is there when the page itself has text: `text`, `caption` and so on
    beside the panels. The metadata are the path of the picture as written, the number of panels, the lines of each
    panel by kind, and the other keys of the spec whose values are plain.
    """
    try:
        parsed = parse(data, name)
        value = parsed.value[0] if isinstance(parsed.value, list) and parsed.value else parsed.value
        if not isinstance(value, dict):
            raise BadRecord(f'{name}: holds no object; a page spec is {{"page_image_path": …, "panels": […]}}')
    except BadRecord as error:
        return faulty(error)
    problems = [f"names {key!r} twice; the last counts" for key in parsed.repeated[:MOST_KEYS]]
    return _page(value, name, problems)


def faulty(error: ItemError) -> PageSpec:
    """What is known of a page whose spec cannot be read."""
    return PageSpec(Record(fault=error))


def _page(value: dict[str, object], name: str, problems: list[str]) -> PageSpec:
    images = ((key, held) for key, held in under(value, IMAGE_KEYS) if isinstance(held, str) and parts_of(held.strip()))
    image_key, image = next(images, ("", ""))
    held_panels = [(key, held) for key, held in under(value, PANEL_KEYS) if held is not None]
    panel_key, found = next(((key, held) for key, held in held_panels if isinstance(held, list)), ("", []))
    if held_panels and not panel_key:
        problems.append(f"{clean(held_panels[0][0])!r} is no list of panels; the page is taken without any")
    panels = cast("list[object]", found)
    if len(panels) > MOST_PANELS:
        problems.append(f"has {len(panels):,} panels; those after the first {MOST_PANELS:,} are left out")
        panels = panels[:MOST_PANELS]
    read = [read_panel(number, panel, name) for number, panel in enumerate(panels, 1)]
    text = read_lines(value).text()
    metadata: dict[str, Plain] = {
        **_plain_keys({key: held for key, held in value.items() if key not in (image_key, panel_key)}, problems),
        "panel_count": len(panels),
        "panels": [lines.plain() for _, lines in read],
    }
    if image:
        metadata["image_path"] = clean(image)
    record = Record(
        metadata,
        regions=(*([RegionRecord(0, text=text)] if text else []), *(region for region, _ in read)),
        fault=None if image else NoPicture(f'{name}: names no picture; give it a "page_image_path"'),
    )
    return PageSpec(record, image.strip(), tuple(problems))


def _plain_keys(value: Mapping[str, object], problems: list[str]) -> dict[str, Plain]:
    """The values that are plain, or short lists of plain ones; objects are nobody's metadata."""
    out: dict[str, Plain] = {}
    for key, held in value.items():
        name = clean(key).strip()
        values = held if isinstance(held, list) else [held]
        if held is None or not all(isinstance(each, str | int | float | bool) for each in values):
            continue
        plain = [_plain(each) for each in values]
        if not name or len(name) > LONGEST_KEY or None in plain or len(plain) > MOST_VALUES:
            problems.append(f"{name[:LONGEST_KEY]!r} is left out: too long, or no number that JSON knows")
        elif len(out) == MOST_KEYS:
            problems.append(f"has more than {MOST_KEYS} keys beside panels; the rest is left out")
            break
        else:
            out[name] = plain if isinstance(held, list) else plain[0]
    return out


def _plain(value: object) -> Plain:
    """A string, number or truth value as a record holds it; None where it has no place in one."""
    if isinstance(value, str):
        return clean(value) if len(value) <= LONGEST_TEXT else None
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value if isinstance(value, int) and value in INTEGERS else None
