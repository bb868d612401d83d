"""`search_catalog`: the records of all live rows, kept in step with raw_images at the cost of what changed.

A refresh resolves all batches once, reads those that changed, picks the winner of each picture they touch by the rule
that indexes follow, copies the file of the generation before, changes that, proves it, and commits one generation. When
nothing changed it writes nothing. A file that is damaged or missing costs a refresh from nothing, and nothing else.
"""

import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from embeddings_dagster.catalog import KEPT, Catalogue, CatalogueManifest, CatalogueWriter, proven, writing
from embeddings_dagster.errors import CommitConflict, CorruptFile, CountsDoNotReconcile
from embeddings_dagster.ids import Key
from embeddings_dagster.stages.account import now
from embeddings_dagster.stages.catalog_rows import DATASET, TAKEN, offers, pictures
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.index_inputs import Inputs, resolve_inputs
from embeddings_dagster.stages.index_plan import BatchChanges, compare_batches
from embeddings_dagster.stages.index_state import IndexState, Settled, StateDamaged, index_state
from embeddings_dagster.stages.refreshing import refreshed, take_in
from embeddings_dagster.stages.statistics import Statistics, require_handed_over

ASSET = "search_catalog"
FILE = ""  # pictures are placed by their number; there is but one file


@dataclass(frozen=True)
class CatalogReport:
    """What a refresh did. `generation` is the newest now (None: there is nothing to catalogue yet); `rows` counts
    regions, `images`, `inserted`, `updated` and `removed` pictures; `statistics` are of the pictures that all batches
    offer."""

    generation: int | None
    changed: bool
    rows: int
    images: int
    statistics: Statistics
    inserted: int = 0
    updated: int = 0
    removed: int = 0
    batches_read: int = 0
    bytes_written: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


def refresh_catalog(context: StageContext) -> CatalogReport:
    """Bring the catalogue to the state of raw_images; with `force`, made anew from nothing, and nothing older is kept.

    Raises:
        Stopped: a stop was asked for; the catalogue is as it was.
        CommitConflict: other writers won every race.
        CorruptFile: a part of raw_images, or the manifest of the newest generation, is damaged.
        StoreError: what was written is not sound; nothing was committed.
        CountsDoNotReconcile: a picture that a batch offers is neither placed nor superseded; nothing was committed.
    """
    refresh = _Refresh(context)
    return refreshed(context, refresh.folder, refresh.state, refresh.run)


class _Made(NamedTuple):
    """The file of a generation, what it holds, and how many bytes of it were written for it."""

    file: str
    bytes: int
    sha256: str
    rows: int
    images: int
    written: int


class _Refresh:
    """Attempts: plan, write, commit."""

    def __init__(self, context: StageContext) -> None:
        self._context, self._store = context, context.store
        self._catalogue = Catalogue(context.store)
        self.folder = self._catalogue.folder
        folder = self._store.cache / "catalog"
        self.state = folder / "state.sqlite"
        self._making = folder / "making"  # emptied before and after: the lock is held, so it is nobody else's

    def run(self) -> CatalogReport:
        started = time.monotonic()
        base = self._catalogue.latest()
        consumed = base.consumed if base else {}
        inputs = resolve_inputs(self._store, DATASET, consumed)
        for fault in inputs.faults.values():
            self._context.log(f"the catalogue keeps a batch as it was taken in: {fault}")
        changes = compare_batches(inputs.states, consumed)
        origin = self._origin(base)
        if not changes and (base is None or origin is not None):
            images = base.images if base else 0
            counted = inputs.statistics("images", images, inputs.offered - images, Settled())
            return self._report(base, counted, started)
        with index_state(self.state) as state:
            read = self._take_in(state, inputs, changes, origin)
            settled = state.settle(inputs.newest())
            made = self._made(state, inputs, settled, origin)
            counted = self._counted(state, inputs, settled, origin, made)
            manifest = self._commit(base, inputs, made)
            state.mark(manifest.self_sha256)
        self._catalogue.give_up_old(1 if self._context.force else KEPT)
        return self._report(manifest, counted, started, settled, batches_read=read, bytes_written=made.written)

    def _origin(self, base: CatalogueManifest | None) -> CatalogueManifest | None:
        """The generation to begin from, its bytes checked even where nothing changed; None: from nothing."""
        if base is None or self._context.force:
            return None
        try:
            if self._catalogue.is_there(base):
                self._catalogue.local(base)
                return base
            why = "its file is gone, or of an older release"
        except CorruptFile as error:
            why = str(error)
        self._context.log(f"generation {base.version} of the catalogue cannot be gone on from, and is made anew: {why}")
        return None

    def _take_in(
        self, state: IndexState, inputs: Inputs, changes: BatchChanges, origin: CatalogueManifest | None
    ) -> int:
        def restore() -> None:
            assert origin is not None, "only a state that begins from a generation is restored"
            with self._catalogue.open(origin) as snapshot:
                placed = snapshot.placed()
                state.load_placed((image, 0, digest, batch, FILE, number) for image, digest, batch, number in placed)
            state.touch_placed()

        def take(batch: str) -> None:
            inputs.require_taken(batch, inputs.resolved(batch)[1], state.offer(batch, offers(inputs, batch)))

        mark = origin.self_sha256 if origin else None
        return take_in(self._context, state, inputs, changes, mark=mark, restore=restore, take=take)

    def _made(self, state: IndexState, inputs: Inputs, settled: Settled, origin: CatalogueManifest | None) -> _Made:
        """The file of the next generation: that of the one before, where no row differs."""
        if origin is not None and not settled:
            return _Made(origin.file, origin.bytes, origin.sha256, origin.rows, origin.images, 0)
        shutil.rmtree(self._making, ignore_errors=True)
        self._making.mkdir(parents=True)
        path = self._making / "next.sqlite"
        try:
            if origin is not None:
                shutil.copyfile(self._catalogue.local(origin), path)
            with writing(path, new=origin is None) as writer:
                writer.remove(settled.dead[FILE])
                self._add(writer, state, inputs)
            totals = proven(path)
            file, size, sha256 = self._catalogue.write(path)
            return _Made(file, size, sha256, *totals, size)
        finally:
            shutil.rmtree(self._making, ignore_errors=True)

    def _add(self, writer: CatalogueWriter, state: IndexState, inputs: Inputs) -> None:
        """The pictures that have no place yet, batch by batch; each is placed as it passes."""
        todo, number = state.unplaced(), writer.next_number()
        first, total = number, sum(todo.values())
        for batch, count in todo.items():
            wanted, end = state.unplaced_of(batch), number + count
            chain, manifest = inputs.resolved(batch)
            for part in chain.scan(manifest, TAKEN, keys=wanted):
                self._context.check_stop()
                keys = []
                for picture in pictures(part, batch):
                    keys.append(Key(picture.image_id, 0))
                    if wanted[keys[-1]] != picture.digest:
                        raise StateDamaged(f"what is remembered of batch {batch} is not what it holds")
                    writer.add(number + len(keys) - 1, picture)
                state.place(FILE, keys, number)
                number += len(keys)
                if self._context.progress is not None:
                    self._context.progress(ASSET, number - first, total)
            if number != end:
                raise StateDamaged(f"batch {batch} does not hold all that is remembered of it")

    def _counted(
        self, state: IndexState, inputs: Inputs, settled: Settled, origin: CatalogueManifest | None, made: _Made
    ) -> Statistics:
        """The statistics of what is about to be committed; what is written is taken back where they do not add up."""
        try:
            expected = (origin.images if origin else 0) + settled.inserted - settled.removed
            require_handed_over(ASSET, "", "images", expected, made.images)
            return inputs.statistics("images", made.images, state.superseded(), settled)
        except CountsDoNotReconcile:
            self._take_back(made)
            raise

    def _take_back(self, made: _Made) -> None:
        """Remove what was written; what cannot be removed now is nobody's, and gc's to take."""
        if made.written:
            with suppress(OSError):
                self._catalogue.discard(made.file)

    def _commit(self, base: CatalogueManifest | None, inputs: Inputs, made: _Made) -> CatalogueManifest:
        following = CatalogueManifest(
            version=0,
            previous=None,
            created_at=now(),
            run_id=self._context.run_id,
            file=made.file,
            bytes=made.bytes,
            sha256=made.sha256,
            rows=made.rows,
            images=made.images,
            consumed=inputs.states,
        )
        try:
            return self._catalogue.commit(base, following)
        except CommitConflict:  # after any other error the commit may stand all the same, and needs its file
            self._take_back(made)
            raise

    def _report(
        self,
        manifest: CatalogueManifest | None,
        counted: Statistics,
        started: float,
        settled: Settled | None = None,
        *,
        batches_read: int = 0,
        bytes_written: int = 0,
    ) -> CatalogReport:
        done = settled or Settled()
        seconds = round(time.monotonic() - started, 3)
        return CatalogReport(
            generation=manifest.version if manifest else None,
            changed=settled is not None,
            rows=manifest.rows if manifest else 0,
            images=manifest.images if manifest else 0,
            statistics=replace(counted, seconds=seconds),
            inserted=done.inserted,
            updated=done.updated,
            removed=done.removed,
            batches_read=batches_read,
            bytes_written=bytes_written,
            seconds=seconds,
        )
