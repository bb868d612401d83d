"""`embedding_map`: the pictures of a model's index in two dimensions, those that the model finds alike side by side.

Made of a bounded sample that follows from ids alone, so that more pictures move few others out. A generation holds the
coordinates and the drawing; when nothing changed nothing is written.
"""

import hashlib
import io
import json
import time
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa
from PIL import Image

from embeddings_dagster.stages.analysis_drawing import jpeg_within, thumbnails
from embeddings_dagster.stages.analysis_files import Analysis, AnalysisManifest
from embeddings_dagster.stages.analysis_pictures import NewestIndex, Numbers, Pictures, newest_index
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.embedding_map_layout import layout
from embeddings_dagster.stages.embedding_map_picture import draw_map
from embeddings_dagster.stages.held import held
from embeddings_dagster.stages.statistics import Statistics, without_zeros
from embeddings_dagster.store import Store

ASSET = "embedding_map"
CODE = "tsne-1"  # raise it when the map comes out differently for the same vectors
PLACES, PICTURE = "places", "picture"  # among a generation's files
MOST_BYTES = 220_000  # of the drawing where it is shown: in base64, four bytes for three
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class MapReport:
    """What a run did. `generation` is the newest now (None: there is nothing to show yet); of `pictures` whole pictures
    `shown` are on the map."""

    generation: int | None
    changed: bool
    model: str
    index_generation: int | None
    pictures: int = 0
    shown: int = 0
    bytes_written: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**asdict(self), "statistics": self.statistics.counts}

    @property
    def statistics(self) -> Statistics:
        """Every whole picture of the index is on the map, or outside of the sample."""
        outside = self.pictures - self.shown
        return Statistics(stage=ASSET, where=self.model, unit="pictures", total=self.pictures, processed=self.shown,
                          skipped=outside, failed=0, reasons=without_zeros(outside_of_the_sample=outside),
                          seconds=self.seconds)  # fmt: skip


def map_of(store: Store, model: str) -> Analysis:
    """The generations of a model's map."""
    return Analysis(store, f"{ASSET}/{model}")


def read_picture(store: Store, model: str) -> bytes | None:
    """The drawing, a PNG; None while there is none. Raises CorruptFile, MissingFile."""
    analysis = map_of(store, model)
    manifest = analysis.latest()
    return analysis.read_bytes(manifest, PICTURE) if manifest else None


def read_small_picture(store: Store, model: str, most: int = MOST_BYTES) -> bytes | None:
    """The drawing as a JPEG of at most so many bytes; None while there is none. Raises as `read_picture`."""
    data = read_picture(store, model)
    if data is None:
        return None
    with Image.open(io.BytesIO(data)) as drawing:
        return jpeg_within(drawing.convert("RGB"), most)


def refresh_map(context: StageContext, model: str) -> MapReport:
    """Bring the map to the state of a model's index, as searches see it.

    Raises:
        Stopped: a stop was asked for; the map is as it was.
        CommitConflict: somebody else committed at the same moment; run again.
        CorruptFile: the index, or a part of rgb_images, is damaged.
    """
    started = time.monotonic()
    analysis = map_of(context.store, model)
    with held(context, analysis.folder):
        base = analysis.latest()
        index = newest_index(context.store, model)
        if index is None:
            return _reported(base) if base else MapReport(None, False, model, None)
        most = context.settings.analysis.map_pictures
        state = hashlib.sha256(json.dumps([CODE, most, index.state]).encode()).hexdigest()
        if base is not None and base.state == state and _is_sound(context, analysis, base):
            report = _reported(base)
        else:
            report = _made(context, analysis, base, index, model, state)
    return replace(report, seconds=round(time.monotonic() - started, 3))


def _is_sound(context: StageContext, analysis: Analysis, base: AnalysisManifest) -> bool:
    faults = analysis.faults(base)
    for fault in faults.values():
        context.log(f"the map of generation {base.version} is made anew: {fault}")
    return not faults


def _made(
    context: StageContext,
    analysis: Analysis,
    base: AnalysisManifest | None,
    index: NewestIndex,
    model: str,
    state: str,
) -> MapReport:
    pictures = Pictures.open(index)
    chosen = sampled(pictures.column("image_id"), context.settings.analysis.map_pictures)
    rows = pictures.table.take(pa.array(chosen))
    images, batches = (rows.column(name).to_pylist() for name in ("image_id", "batch"))
    places = layout(pictures.vectors(chosen), context.check_stop)
    small = thumbnails(context.store, zip(images, batches, strict=True))
    context.check_stop()
    drawing = draw_map(images, places, [small.get(each) for each in images])
    buffer = io.BytesIO()
    drawing.save(buffer, "PNG")
    table = pa.table([images, *(pa.array(each, pa.float32()) for each in places.T)], schema=SCHEMA)
    files = {
        PLACES: analysis.write_table(SCHEMA, table.to_batches()),
        PICTURE: analysis.write_bytes(buffer.getvalue(), "png"),
    }
    report = MapReport(None, True, model, index.manifest.version, len(pictures), len(images))
    told = {name: value for name, value in report.as_dict().items() if name in TOLD}
    made = analysis.follow(base, run_id=context.run_id, state=state, told=told, files=files)
    written = sum(each.bytes for each in files.values())
    return replace(report, generation=made.version, bytes_written=written)


TOLD = ("model", "index_generation", "pictures", "shown")


def _reported(manifest: AnalysisManifest) -> MapReport:
    return MapReport(**manifest.told, generation=manifest.version, changed=False)


def sampled(images: list[str], most: int) -> Numbers:
    """Which pictures are on the map: numbers, ascending; the same ones as long as they are there."""
    ranks = [hashlib.blake2b(each.encode("utf-8", "surrogatepass"), digest_size=8).digest() for each in images]
    return np.sort(np.array(sorted(range(len(images)), key=ranks.__getitem__)[:most], np.int64))
