"""What a writer starts from: the live keys of a version, where each lies, and its failures."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.ids import Key
from embeddings_dagster.store.manifest import Manifest
from embeddings_dagster.store.parts import KEY_COLUMNS, keys_of
from embeddings_dagster.store.tables import Failure

if TYPE_CHECKING:
    from embeddings_dagster.store.chain import Chain


@dataclass
class Base:
    """A version by its keys. `places` are (part, row) by number; `lost` tells what was damaged and left out."""

    manifest: Manifest | None
    dead: list[set[int]] = field(default_factory=list)
    present: dict[Key, str] = field(default_factory=dict)
    places: dict[Key, tuple[int, int]] = field(default_factory=dict)
    failed: dict[Key, Failure] = field(default_factory=dict)
    lost_rows: bool = False
    lost_failures: bool = False


def read_base(chain: "Chain", manifest: Manifest | None, *, heal: bool) -> Base:
    """What lies in a version, such as the chain's head. With `heal`, what is in damaged or missing files is absent.

    Raises:
        CorruptFile, MissingFile: a file is damaged, and `heal` is not set.
    """
    base = Base(manifest)
    if base.manifest is None:
        return base
    for number, entry in enumerate(base.manifest.parts):
        base.dead.append(set(entry.dead))
        try:
            with chain.part(entry.file, entry.sha256) as part:
                table = part.read(KEY_COLUMNS)
        except CorruptFile:
            if not heal:
                raise
            base.dead[number] = set(range(entry.rows))
            base.lost_rows = True
            continue
        hashes = table.column("input_hash").to_pylist()
        for row, (key, input_hash) in enumerate(zip(keys_of(table), hashes, strict=True)):
            if row not in base.dead[number]:
                base.present[key] = input_hash
                base.places[key] = (number, row)
    try:
        base.failed = {Key(each.image_id, each.region): each for each in chain.failures(base.manifest)}
    except CorruptFile:
        if not heal:
            raise
        base.lost_failures = True
    return base
