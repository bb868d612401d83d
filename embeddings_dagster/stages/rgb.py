"""rgb_images: every decodable picture as 8-bit sRGB bytes that any reader can open, panels as boxes in their page.

A panel whose box is no box fails alone: the page and its other panels are made, under their own numbers.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from embeddings_dagster import ids
from embeddings_dagster.errors import CorruptFile, EmptyRegion, ItemError, RawChanged, UnknownItem
from embeddings_dagster.ids import Key
from embeddings_dagster.images import RgbImage, Workshop, recipe, usable_cores
from embeddings_dagster.sources import Picture, Source
from embeddings_dagster.sources.addresses import without_secrets
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.carry_out import Job, Made, Row, carry_out, failed_image
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.opened import decode_rules, opened_source, workshop
from embeddings_dagster.stages.parallel import ordered_map
from embeddings_dagster.stages.plan import Plan
from embeddings_dagster.stages.statistics import require_handed_over
from embeddings_dagster.store import Manifest
from embeddings_dagster.store.tables import RGB

STAGE = "rgb_images"
UPSTREAM = "raw_images"
COLUMNS = ("image_id", "location", "sha256", "regions", "width", "height")
# For each thread, of pictures at work or waiting to be written: two photos of a phone. What is larger waits for others
# to be done, so that memory is bounded whatever the pictures are.
PIXELS_A_THREAD = 24_000_000

RawRow = Mapping[str, object]
Corners = Mapping[str, int]


class RegionRow(NamedTuple):
    """A region as raw has it. `problem`: why one that is not the whole picture has no box."""

    number: int
    box: Corners | None
    text: str | None
    problem: str | None


def run_rgb(context: StageContext, batch: str) -> Account:
    """Bring `rgb_images` of one batch to the state of its `raw_images`.

    Raises:
        UnknownItem: the batch has no complete `raw_images` yet.
        CountsDoNotReconcile: `raw_images` counts other rows than it has; see also `carry_out`.
    """
    upstream = context.store.chain(UPSTREAM, batch)
    raw = complete(upstream.latest(), UPSTREAM, batch)
    version = recipe(decode_rules(context.settings))
    rows = {str(row["image_id"]): row for row in upstream.rows(raw, COLUMNS).to_pylist()}
    require_handed_over(STAGE, batch, "images", raw.counts.ok, len(rows))

    def make(plan: Plan) -> Iterator[Made]:
        todo = [image_id for image_id in rows if image_id in plan.images]
        if not todo:
            return
        source = _open(context, batch)
        threads = usable_cores()
        with workshop(context.settings, context.stop) as pictures:
            yield from ordered_map(
                lambda image_id: _make(source, pictures, version, rows[image_id], context.run_id),
                todo,
                threads=threads,
                weight=lambda image_id: _pixels(rows[image_id]),
                most=threads * PIXELS_A_THREAD,
            )

    return carry_out(
        context,
        Job(
            stage=STAGE,
            chain=context.store.chain(STAGE, batch),
            table=RGB,
            label={"recipe": version},
            wanted=wanted(rows.values(), version),
            inputs={f"{UPSTREAM}/{batch}": {"version": raw.version, "content": raw.content}},
            make=make,
            outdated=_other_texts(context, batch, rows.values()),
        ),
    )


def attempt(context: StageContext, batch: str, rows: Mapping[str, RawRow]) -> dict[str, ItemError]:
    """Which pictures of some raw rows cannot be read as they were hashed, by image; nothing is written.

    Raises:
        UnknownItem, SourceError: the source is not there.
    """
    source = _open(context, batch)
    most = decode_rules(context.settings).max_bytes
    found: dict[str, ItemError] = {}
    for image_id, row in rows.items():
        try:
            _read(source, row, most)
        except ItemError as error:
            found[image_id] = error
    return found


def _open(context: StageContext, batch: str) -> Source:
    return opened_source(
        context.settings,
        ids.source_of(batch),
        download=context.download,
        retry_failed=context.retry_failed,
        fetched_before=True,
        stop=context.stop,
    )


def _read(source: Source, row: RawRow, most: int) -> bytes:
    """The bytes of a picture, which are those that were hashed. Raises ItemError."""
    image_id = str(row["image_id"])
    _, local_id, ordinal = ids.parse_image_id(image_id)
    data = source.read(Picture(local_id, ordinal, str(row["location"])), most)
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise RawChanged(f"{image_id}: the file changed since it was hashed; run again to take the new one")
    return data


def _other_texts(context: StageContext, batch: str, rows: Iterable[RawRow]) -> frozenset[Key]:
    """The regions whose text is not the one that raw has now: texts are carried along and decide no pixel."""
    if context.force:  # all is made anew, and what is there may be damaged
        return frozenset()
    chain = context.store.chain(STAGE, batch)
    texts = {Key(str(row["image_id"]), region.number): region.text for row in rows for region in _regions(row)}
    head = chain.head()
    if head is None:
        return frozenset()
    carried = {}
    for part in head.parts:
        try:
            found = chain.rows(replace(head, parts=(part,)), ("image_id", "region", "text")).to_pylist()
        except CorruptFile:
            if not context.heal:  # then its rows are made anew
                raise
        else:
            carried.update({Key(row["image_id"], row["region"]): row["text"] for row in found})
    return frozenset(key for key, text in carried.items() if key in texts and texts[key] != text)


def complete(manifest: Manifest | None, dataset: str, batch: str) -> Manifest:
    """Raises:
    UnknownItem: there is no complete version upstream to work from.
    """
    if manifest is None:
        raise UnknownItem(f"{dataset} of batch {batch!r} is not there yet; materialise it first (`embeddings run`)")
    return manifest


def wanted(rows: Iterable[RawRow], version: str) -> dict[Key, str]:
    """The regions of raw rows, each with the hash of (raw sha256, recipe, box)."""
    return {
        Key(str(row["image_id"]), region.number): input_hash(str(row["sha256"]), version, region.box, region.problem)
        for row in rows
        for region in _regions(row)
    }


def input_hash(sha256: str, version: str, box: Corners | None, problem: str | None = None) -> str:
    """What decides the pixels of one region, or that it has none."""
    corners = [box[side] for side in "xywh"] if box else problem
    return hashlib.sha256(json.dumps([sha256, version, corners]).encode()).hexdigest()


def _regions(row: RawRow) -> Iterator[RegionRow]:
    """The regions of one raw row; the whole image always is one of them."""
    listed = {region["region"]: region for region in row["regions"] or ()}  # type: ignore[attr-defined]
    yield RegionRow(0, None, listed.get(0, {}).get("text"), None)
    for number in sorted(listed.keys() - {0}):
        region = listed[number]
        yield RegionRow(number, region["box"], region["text"], region.get("problem"))


def _pixels(row: RawRow) -> int:
    return int(str(row["width"])) * int(str(row["height"]))


def _make(source: Source, pictures: Workshop, version: str, row: RawRow, run_id: str) -> Made:
    image_id = str(row["image_id"])
    regions = list(_regions(row))
    try:
        picture = pictures.to_rgb(_read(source, row, pictures.rules.max_bytes))
    except ItemError as error:
        return failed_image(image_id, [region.number for region in regions], error)
    return Made(
        image_id,
        [_row(row, picture, version, region, run_id) for region in regions if region.problem is None],
        errors={region.number: EmptyRegion(region.problem) for region in regions if region.problem is not None},
    )


def _row(raw: RawRow, picture: RgbImage, version: str, region: RegionRow, run_id: str) -> Row:
    number, box, text, _ = region
    whole = number == 0
    path = without_secrets(str(raw["location"]))
    return {
        "image_id": raw["image_id"],
        "region": number,
        "input_hash": input_hash(str(raw["sha256"]), version, box),
        "image": {"bytes": picture.data if whole else None, "path": path if whole else None},
        "box": box,
        "text": text,
        "width": picture.width if box is None else box["w"],
        "height": picture.height if box is None else box["h"],
        "passthrough": picture.passthrough if whole else False,
        "thumbnail": picture.thumbnail if whole else None,
        "run_id": run_id,
    }
