"""One image from ledger to index and catalogue: every row, version, run and model, and why anything is stale, failed or
missing."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow.compute as pc

from embeddings_dagster import ids
from embeddings_dagster.catalog import Catalogue
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.errors import IndexUnavailable, StoreError, UnknownItem
from embeddings_dagster.ids import ImageRef, Key
from embeddings_dagster.images import recipe
from embeddings_dagster.index import Generations
from embeddings_dagster.index.segment import read_rows
from embeddings_dagster.settings import Settings
from embeddings_dagster.sources.addresses import shown
from embeddings_dagster.sources.tails import find_by_tail, named
from embeddings_dagster.stages import raw, rgb
from embeddings_dagster.stages.catalog import ASSET
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.fields import fields_of
from embeddings_dagster.stages.ledger_rows import ledger_rows
from embeddings_dagster.stages.opened import decode_rules
from embeddings_dagster.stages.vector_inputs import RgbRow, wanted_vectors
from embeddings_dagster.store import Chain, Failure, Store

CURRENT, STALE, FAILED, MISSING, REMOVED = "current", "stale", "failed", "missing", "removed"
NOTHING = "there is nothing upstream to make it from"
CLOSE_MATCHES = 3
CLOSE_POOL = 20_000  # ids compared letter by letter, at most: some seconds of work

Row = Mapping[str, object]


@dataclass(frozen=True)
class Step:
    """What one stage of one batch holds of the image. `why` says what a state other than current comes from."""

    stage: str
    batch: str
    state: str
    why: str = ""
    version: int | None = None
    run_id: str = ""
    committed: datetime | None = None
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Explanation:
    """The steps of an image, batch by batch, in the order of the graph."""

    image_id: str
    steps: tuple[Step, ...]


class _OfImage:
    """All regions of one image, as a set of keys that need not be listed."""

    def __init__(self, image_id: str) -> None:
        self._image_id = image_id

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and key[0] == self._image_id


def explain(store: Store, settings: Settings, identities: Mapping[str, ModelIdentity], image_id: str) -> Explanation:
    """Follow an image, `image_id` or the only one whose id ends so, through every batch that has or had it.

    Raises:
        UnknownItem: no ledger knows it; the message offers ids that look like it. Or several end so.
    """
    image_id, rows = _find(store, image_id)
    steps: list[Step] = []
    for batch, row, since in rows:
        steps.append(_ledger_step(batch, row, since))
        steps += _stages(store, settings, identities, image_id, batch, row)
    encoded = {step.stage for step in steps if step.state == CURRENT or _has_other_rows(step)}
    for model, identity in identities.items():
        if identity.inputs != "texts" or any(step.stage == f"{model}_embeddings" for step in steps):
            steps.append(_index_step(store, model, identity, image_id, f"{model}_embeddings" in encoded))
    steps.append(_catalogue_step(store, image_id, "raw_images" in encoded))
    return Explanation(image_id, tuple(steps))


def _has_other_rows(step: Step) -> bool:
    """Whether only some regions of the image failed; the rows of the others are taken further."""
    return step.state == FAILED and "input_hash" in step.details


def _find(store: Store, text: str) -> tuple[str, list[tuple[str, Row, int]]]:
    """The id that is meant, and its rows in the ledger, at least one."""
    try:
        problem, rows = f"no image {text!r} in the store", list(_ledger_rows(store, ids.parse_image_id(text)))
    except ValueError as error:
        problem, rows = str(error), []
    if rows:
        return text, rows
    known = _known(store)
    meant = find_by_tail((each for each, live in known.items() if live), text) or find_by_tail(known, text)
    if len(meant) > 1:
        raise UnknownItem(f"{text!r} is the end of {named(meant, len(meant))}; give more of the path")
    if not meant:
        raise UnknownItem(f"{problem}{_offer(list(known), text)}")
    return meant[0], list(_ledger_rows(store, ids.parse_image_id(meant[0])))


def _known(store: Store) -> dict[str, bool]:
    """Every id of every ledger, and whether the image is there: in one batch, of those that have or had it."""
    known: dict[str, bool] = {}
    for source in store.sources():
        manifest = store.ledger(source).latest()
        table = ledger_rows(store, source, manifest, manifest.batches if manifest else ())
        columns = (table.column("local_id"), table.column("ordinal"), pc.is_null(table.column("removed_at")))
        for local_id, ordinal, live in zip(*(column.to_pylist() for column in columns), strict=True):
            image_id = ids.image_id(source, local_id, ordinal)
            known[image_id] = live or known.get(image_id, False)
    return known


def _ledger_rows(store: Store, reference: ImageRef) -> Iterator[tuple[str, Row, int]]:
    """(batch, row, ledger version) for each batch that lists the image."""
    if reference.source not in store.sources():
        return
    manifest = store.ledger(reference.source).latest()
    if manifest is None:
        return
    table = ledger_rows(store, reference.source, manifest, manifest.batches)
    same = pc.and_(
        pc.equal(table.column("local_id"), reference.local_id), pc.equal(table.column("ordinal"), reference.ordinal)
    )
    for row in table.filter(same).to_pylist():
        yield row["batch"], row, manifest.batches[row["batch"]].since


def _ledger_step(batch: str, row: Row, since: int) -> Step:
    told = ("location", "size", "mtime_ns", "etag", "first_seen", "removed_at")
    details = {name: row[name] for name in told if row[name] is not None}
    details["location"] = shown(str(row["location"]))
    if row["removed_at"]:
        return Step("ledger", batch, REMOVED, "gone from its source", since, details=details)
    return Step("ledger", batch, CURRENT, "", since, details=details)


def _stages(
    store: Store,
    settings: Settings,
    identities: Mapping[str, ModelIdentity],
    image_id: str,
    batch: str,
    ledger_row: Row,
) -> Iterator[Step]:
    fields = fields_of(settings, ids.source_of(batch))
    wanted = {} if ledger_row["removed_at"] else {Key(image_id, 0): raw.input_hash(ledger_row, fields)}
    rows, step = _step("raw_images", store.chain("raw_images", batch), image_id, wanted, RAW_SHOWN)
    yield step
    wanted = rgb.wanted(rows, recipe(decode_rules(settings)))
    rows, step = _step("rgb_images", store.chain("rgb_images", batch), image_id, wanted, RGB_SHOWN)
    yield step
    regions = [_rgb_row(row) for row in rows]
    for model, identity in identities.items():
        wanted = wanted_vectors(identity.inputs, regions)
        if identity.inputs == "texts" and not wanted:
            continue
        chain = store.chain(dataset(model, identity), batch)
        _, step = _step(f"{model}_embeddings", chain, image_id, wanted, EMBEDDING_SHOWN)
        yield Step(**{**vars(step), "details": {**step.details, "model": identity.model, "fingerprint": identity.fp12}})


def _rgb_row(row: Row) -> RgbRow:
    key = Key(str(row["image_id"]), int(str(row["region"])))
    return RgbRow(key, str(row["input_hash"]), None if row["text"] is None else str(row["text"]))


RAW_SHOWN = ("image_id", "input_hash", "location", "size", "sha256", "format", "mode", "width", "height", "regions",
             "run_id")  # fmt: skip
RGB_SHOWN = ("image_id", "region", "input_hash", "width", "height", "passthrough", "box", "text", "run_id")
EMBEDDING_SHOWN = ("image_id", "region", "input_hash", "norm", "precision", "run_id")
HIDDEN = {"image_id", "region", "run_id", "regions", "box", "text", "location"}


def _step(
    stage: str, chain: Chain, image_id: str, wanted: Mapping[Key, str], columns: tuple[str, ...]
) -> tuple[list[Row], Step]:
    """The image's live rows in a chain's newest complete version, and what is to be said of them."""
    manifest = chain.latest()
    if manifest is None:
        why = "this batch has not come this far; run it" if wanted else NOTHING
        return [], Step(stage, chain.batch, MISSING, why)
    rows = [row for part in chain.scan(manifest, columns, _OfImage(image_id)) for row in part.to_pylist()]
    failure = next((each for each in chain.failures(manifest) if each.image_id == image_id), None)
    state, why = _judge(rows, failure, wanted)
    first = rows[0] if rows else {}
    details = {name: value for name, value in first.items() if name not in HIDDEN and value is not None}
    if len(rows) > 1:
        details["regions"] = len(rows)
    run_id = str(first.get("run_id") or manifest.run_id)
    return rows, Step(stage, chain.batch, state, why, manifest.version, run_id, manifest.created_at, details)


def _judge(rows: list[Row], failure: Failure | None, wanted: Mapping[Key, str]) -> tuple[str, str]:
    if failure is not None:
        again = "the next run tries it again" if failure.retryable else "tried again when it changes, or --retry-failed"
        times = "once" if failure.attempts == 1 else f"{failure.attempts} times"
        which = f"region {failure.region}: " if failure.region else ""
        return FAILED, f"{which}{failure.error_class}: {failure.message} (tried {times}; {again})"
    if not rows:
        return MISSING, "not made yet; run it" if wanted else NOTHING
    present = {Key(str(row["image_id"]), int(str(row.get("region", 0)))): row["input_hash"] for row in rows}
    if present == wanted:
        return CURRENT, ""
    return STALE, "its input changed since; run it" if wanted else "its input is gone; the next run removes it"


def _index_step(store: Store, model: str, identity: ModelIdentity, image_id: str, encoded: bool) -> Step:
    """Where the index has the image; of several batches it shows the newest that has it without failure."""
    stage = f"{model}_index"
    generations = Generations(store, model, identity.fp12)
    manifest = generations.latest()
    if manifest is None:
        return Step(stage, "", MISSING, "there is no generation yet; run it")
    for entry in manifest.segments:
        table, live = read_rows(store, generations.folder, entry, ["image_id", "batch"])
        labels = np.flatnonzero(live & pc.equal(table.column("image_id"), image_id).to_numpy(zero_copy_only=False))
        if len(labels):
            details = {"segment": entry.uuid[:8], "label": int(labels[0]), "fingerprint": identity.fp12}
            batch = str(table.column("batch")[int(labels[0])])
            why = "" if encoded else "it shows what the embeddings were; the next refresh updates it"
            state = CURRENT if encoded else STALE
            return Step(stage, batch, state, why, manifest.version, manifest.run_id, manifest.created_at, details)
    why = "pinned by a rollback: `embeddings index rollback --release`" if manifest.pinned else "refresh it: run it"
    why = why if encoded else NOTHING
    return Step(stage, "", MISSING, why, manifest.version, manifest.run_id, manifest.created_at)


def _catalogue_step(store: Store, image_id: str, present: bool) -> Step:
    """What the catalogue says of the image; of several batches it shows the newest that has it without failure."""
    manifest = Catalogue(store).latest()
    if manifest is None:
        return Step(ASSET, "", MISSING, "there is no generation yet; run it")
    about = (manifest.version, manifest.run_id, manifest.created_at)
    try:
        with Catalogue(store).open(manifest) as snapshot:
            record = snapshot.rows([Key(image_id, 0)]).get(Key(image_id, 0))
    except (StoreError, IndexUnavailable) as error:
        return Step(ASSET, "", MISSING, str(error), *about)
    if record is None:
        return Step(ASSET, "", MISSING, "refresh it: run it" if present else NOTHING, *about)
    why = "" if present else "it shows what raw_images was; the next refresh updates it"
    said = {"title": record.title, "text": record.text, "metadata": record.metadata}
    details = {name: value for name, value in said.items() if value}
    return Step(ASSET, record.batch, STALE if why else CURRENT, why, *about, details=details)


def _offer(known: list[str], image_id: str) -> str:
    """`; did you mean …?` with ids that contain the text, or look like it."""
    text = image_id.lower()
    close = [each for each in known if text in each.lower()][:CLOSE_MATCHES]
    close = close or difflib.get_close_matches(image_id, known[:CLOSE_POOL], n=CLOSE_MATCHES)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else "; `embeddings status` shows what is there"
