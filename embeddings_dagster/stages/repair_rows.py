"""Before the rows of a batch are made anew: whether all that is needed for that is there, and room for it.

A run that heals makes what lies in damaged files anew, from upstream, and a picture that cannot be read any more would
then become a failure, and lose the vector that it still has. So that is tried first, and refused.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from embeddings_dagster import ids
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.errors import CorruptFile, EmbeddingsError, ItemError
from embeddings_dagster.images import recipe
from embeddings_dagster.stages import raw, rgb
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.fields import fields_of
from embeddings_dagster.stages.opened import decode_rules
from embeddings_dagster.stages.repair_chains import clear_batch, drop_unreadable
from embeddings_dagster.store import Chain, Store
from embeddings_dagster.store.base import Base, read_base

SHOWN = 3  # images named in a refusal


class Refused(NamedTuple):
    """A batch that cannot be repaired now, and why."""

    batch: str
    reason: str


def prepare(context: StageContext, batch: str, identities: Mapping[str, ModelIdentity]) -> Refused | None:
    """Make way for a run that heals the batch; or say why it must not, and change nothing."""
    try:
        unread = _to_read_again(context, batch)
        made = _made(context.store, batch, places(identities)[1:])
        lost = raw.attempt(context, batch, unread & made) | _lost_pictures(context, batch, identities, unread)
    except (EmbeddingsError, OSError) as error:
        return Refused(batch, str(error))
    if lost:
        names = ", ".join(sorted(lost)[:SHOWN]) + (", …" if len(lost) > SHOWN else "")
        first = lost[min(lost)]
        return Refused(
            batch,
            f"pictures cannot be had any more as they were ({len(lost):,}: {names}; {first}), and would lose what was "
            "made of them. Bring them back, or restore the file from a backup; `embeddings run --force` with `--batch "
            f"{batch}` goes on without them",
        )
    for place in places(identities):
        chain = context.store.chain(place, batch)
        drop_unreadable(context.store, chain.versions, chain.get)
    return None


def clear(store: Store, batch: str, identities: Mapping[str, ModelIdentity]) -> list[str]:
    """After the run: clear away what only older versions have."""
    return [path for place in places(identities) for path in clear_batch(store, store.chain(place, batch))]


def places(identities: Mapping[str, ModelIdentity]) -> list[str]:
    """The datasets that a run of the settings makes."""
    return [raw.STAGE, rgb.STAGE, *(dataset(model, identity) for model, identity in identities.items())]


def sound_base(chain: Chain) -> Base:
    """What can be read of the newest version that can be read."""
    for number in reversed(chain.versions.numbers()):
        try:
            manifest = chain.get(number)
        except CorruptFile:
            continue
        return read_base(chain, manifest, heal=True)
    return Base(None)


def _to_read_again(context: StageContext, batch: str) -> set[str]:
    """The images of which `raw_images` has neither a row nor a failure that is of the ledger's state."""
    base = sound_base(context.store.chain(raw.STAGE, batch))
    _, rows = raw.listed(context, batch)
    fields = fields_of(context.settings, ids.source_of(batch))
    there = {key.image_id: input_hash for key, input_hash in base.present.items()}
    known = {key.image_id for key in base.failed}
    return {each for each, row in rows.items() if there.get(each) != raw.input_hash(row, fields)} - known


def _lost_pictures(
    context: StageContext, batch: str, identities: Mapping[str, ModelIdentity], unread: Collection[str]
) -> dict[str, ItemError]:
    """Of the pictures that `rgb_images` would have to convert again those that are not as they were hashed; `unread`
    ones are hashed again first."""
    every = sound_rows(context.store.chain(raw.STAGE, batch), rgb.COLUMNS)
    rows = {str(row["image_id"]): row for row in every if row["image_id"] not in unread}
    base = sound_base(context.store.chain(rgb.STAGE, batch))
    wanted = rgb.wanted(rows.values(), recipe(decode_rules(context.settings)))
    lost = {key.image_id for key, input_hash in wanted.items() if base.present.get(key) != input_hash}
    lost -= {key.image_id for key in base.failed if key in wanted}
    at_stake = lost & _made(context.store, batch, places(identities)[2:])
    return rgb.attempt(context, batch, {image_id: rows[image_id] for image_id in sorted(at_stake)}) if at_stake else {}


def sound_rows(chain: Chain, columns: Sequence[str]) -> Iterator[Mapping[str, object]]:
    """The rows that can be read of the newest version that can be read."""
    manifest = sound_base(chain).manifest
    for part in manifest.parts if manifest else ():
        try:
            with chain.part(part.file, part.sha256) as opened:
                rows = opened.read(columns).to_pylist()
        except CorruptFile:
            continue
        dead = set(part.dead)
        yield from (row for number, row in enumerate(rows) if number not in dead)


def _made(store: Store, batch: str, datasets: Collection[str]) -> set[str]:
    """The images that have rows in any of some datasets."""
    return {key.image_id for place in datasets for key in sound_base(store.chain(place, batch)).present}
