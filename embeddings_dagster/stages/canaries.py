"""Drift canaries: fixed pictures encoded by every fingerprint of a model, the first time kept, and compared ever since.

A fingerprint says that vectors are interchangeable. Whether they still are, after a new library, driver or machine, is
looked at here: the same pixels must give the same vectors. Reference vectors are written once and never changed.
"""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pyarrow as pa

from embeddings_dagster.encoders import Region, Unit
from embeddings_dagster.engines import Engine
from embeddings_dagster.errors import CommitConflict, EncodeFailed
from embeddings_dagster.settings_models import TOLERANCE, ModelSettings
from embeddings_dagster.stages.analysis_files import Analysis, AnalysisManifest
from embeddings_dagster.stages.analysis_pictures import Vectors
from embeddings_dagster.stages.calibration import bring_here, with_calibration
from embeddings_dagster.stages.canaries_pictures import canary_pictures
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.identities import identity as identity_of
from embeddings_dagster.stages.models import records
from embeddings_dagster.stages.neighbours import in_common, nearest
from embeddings_dagster.stages.opened import model_settings, workshop
from embeddings_dagster.store import Store

FLOCK = "canaries-1"  # another one when the pictures are others; then references begin anew
REFERENCE = "reference"  # the table among a generation's files
LEAST = 0.999  # what floats keep from library to library and from precision to precision
NEIGHBOURS = 5  # of each canary, compared between fingerprints
LOST = (
    "Restore the folder {folder} from a backup; or delete it, and the job `analyse` makes a new reference, which cannot"
    " tell of drift before it."
)
LIBRARIES = ("torch", "transformers", "openvino", "numpy", "pillow")


@dataclass(frozen=True)
class Reference:
    """The vectors (16, D) of a fingerprint's canaries, and what computed them."""

    fp12: str
    names: tuple[str, ...]
    vectors: Vectors
    made_with: Mapping[str, str]


@dataclass(frozen=True)
class Comparison:
    """A fingerprint beside the one before it. `cosine`: the mean over the canaries, where both have one dimension;
    `overlap`: what the five closest others of each canary have in common."""

    before: str
    cosine: float | None
    overlap: float


@dataclass(frozen=True)
class Drift:
    """What became of the canaries. `least` is the tolerance; `cosines` to the reference, by name; `recorded`: this was
    the first time; `changed`: libraries and machine, as they were and are, where they differ."""

    model: str
    fingerprint: str
    recorded: bool
    least: float
    cosines: Mapping[str, float]
    changed: Mapping[str, str]
    comparison: Comparison | None
    trouble: str = ""

    @property
    def drifted(self) -> list[str]:
        """The canaries below the tolerance, the worst first."""
        low = [name for name, cosine in self.cosines.items() if not cosine >= self.least]
        return sorted(low, key=lambda name: self.cosines[name])

    @property
    def passed(self) -> bool:
        return not self.trouble and not self.drifted

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**asdict(self), "cosines": dict(self.cosines), "changed": dict(self.changed), "drifted": self.drifted}

    def __str__(self) -> str:
        if self.trouble:
            return self.trouble
        if self.recorded:
            kept = f"{len(self.cosines)} canaries encoded and kept as its reference"
            return f"{self.fingerprint[:12]}: {kept}{self._beside()}"
        if self.passed:
            worst = min(self.cosines.values())
            return f"{len(self.cosines)} canaries are as they were: least cosine {worst:.6f}{self._beside()}"
        low = ", ".join(f"{name} {self.cosines[name]:.4f}" for name in self.drifted)
        why = "; ".join(f"{name} {change}" for name, change in self.changed.items())
        why = f"changed since the reference: {why}" if why else "libraries and machine are those of the reference"
        return (
            f"vectors of {self.model} ({self.fingerprint[:12]}) drifted: {len(self.drifted)} of {len(self.cosines)} "
            f"canaries are below {self.least:g}: {low}. Likely causes are a library, the hardware or the precision; "
            f"{why}. Go back to what made the reference, or encode all anew: vectors of before and after do not compare"
        )

    def _beside(self) -> str:
        if self.comparison is None:
            return ""
        cosine = f"mean cosine {self.comparison.cosine:.4f}, " if self.comparison.cosine is not None else ""
        return f"; beside {self.comparison.before}: {cosine}neighbours overlap {self.comparison.overlap:.2f}"


def look_at_canaries(context: StageContext, name: str, engine: Engine) -> Drift:
    """Encode the canaries with the settings' model `name` and compare them with the reference of its fingerprint, which
    this makes where there is none.

    Raises:
        ModelError: the model cannot be loaded, or fails.
        CorruptFile: the reference is damaged.
    """
    store = context.store
    settings = with_calibration(store, name, model_settings(context.settings, name))
    identity = identity_of(store, name, settings)
    if settings.precision == "int8":
        if settings.calibrated is None:
            trouble = f"{name} is int8 and not calibrated yet; `embeddings run` calibrates it on its first pictures"
            return Drift(name, identity.fingerprint, False, least(settings), {}, {}, None, trouble)
        bring_here(store, name, settings)
    vectors, computed = encode(context, settings, engine)
    names = tuple(canary_pictures())
    known = reference(store, name, identity.fp12)
    if known is None:
        known = record(context, name, identity.fp12, Reference(identity.fp12, names, vectors, computed))
        recorded = known.vectors is vectors
    else:
        recorded = False
    return Drift(
        model=name,
        fingerprint=identity.fingerprint,
        recorded=recorded,
        least=least(settings),
        cosines=dict(zip(known.names, _cosines(vectors, known.vectors), strict=True)),
        changed=_changed(known.made_with, computed),
        comparison=_beside(store, name, known),
    )


def least(model: ModelSettings) -> float:
    """The least cosine that passes: what the settings tolerate of another precision, else the gate's for int8 (whose
    kernels differ between machines), else .999."""
    if model.precision == "fp32":
        return LEAST
    return model.parity or TOLERANCE.get(model.precision, LEAST)


def encode(context: StageContext, model: ModelSettings, engine: Engine) -> tuple[Vectors, Mapping[str, str]]:
    """The canaries' vectors (16, D) as pictures get them, and what computed them.

    Without the parity gate: it would put right what is to be noticed, and judge a precision by pictures that no user
    has.
    """
    units = [Unit(name, data, (Region(0, None, None, name),)) for name, data in canary_pictures().items()]
    found, precisions = [], set()
    with workshop(context.settings, context.stop) as pictures:
        ungated = model.model_copy(update={"parity": 0.0})
        for each in engine.encode(ungated, units, pictures.decode, stop=context.stop):
            if each.error is not None:
                raise EncodeFailed(
                    f"{model.model} cannot encode the canary {each.unit.image_id}: {each.error}"
                ) from each.error
            assert each.vectors is not None
            found.append(each.vectors[0])
            precisions.add(each.precision)
    return np.stack(found), {**_environment(), "precision": ", ".join(sorted(precisions))}


def analysis_of(store: Store, model: str, fp12: str) -> Analysis:
    """The one generation of a fingerprint's reference."""
    return Analysis(store, f"canaries/{model}/{fp12}", LOST)


def reference(store: Store, model: str, fp12: str) -> Reference | None:
    """What is kept of a fingerprint; None where that is nothing, or canaries of another flock. Raises CorruptFile."""
    analysis = analysis_of(store, model, fp12)
    manifest = analysis.latest()
    if manifest is None or manifest.state != FLOCK:
        return None
    return _reference(analysis, manifest, fp12)


def _reference(analysis: Analysis, manifest: AnalysisManifest, fp12: str) -> Reference:
    table = analysis.read_table(manifest, REFERENCE)
    column = table.column("embedding").combine_chunks()
    vectors = column.flatten().to_numpy().reshape(len(table), -1)
    return Reference(fp12, tuple(table.column("name").to_pylist()), vectors, manifest.told["made_with"])


def record(context: StageContext, model: str, fp12: str, made: Reference) -> Reference:
    """Keep the reference of a fingerprint; returns the one in force, which another run may have made first."""
    analysis = analysis_of(context.store, model, fp12)
    kind = pa.list_(pa.field("item", pa.float32(), nullable=False), made.vectors.shape[1])
    schema = pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("embedding", kind, nullable=False)])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(made.vectors.ravel(), pa.float32()), type=kind)
    table = pa.table([pa.array(made.names, pa.string()), vectors], schema=schema)
    files = {REFERENCE: analysis.write_table(schema, table.to_batches())}
    try:
        base = analysis.latest()  # none, or of another flock
        analysis.follow(base, run_id=context.run_id, state=FLOCK, told={"made_with": dict(made.made_with)}, files=files)
    except CommitConflict:
        return reference(context.store, model, fp12) or made
    return made


def _cosines(mine: Vectors, theirs: Vectors) -> list[float]:
    if mine.shape != theirs.shape:
        return [-1.0] * len(theirs)
    one, other = mine.astype(np.float64), theirs.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.einsum("nd,nd->n", one, other) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))
    return [float(each) for each in np.nan_to_num(found, nan=-1.0)]


def _environment() -> dict[str, str]:
    found = {"machine": f"{platform.system()} {platform.machine()}", "processor": _processor()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        return platform.processor()


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    names = [*before, *(name for name in now if name not in before)]
    return {
        name: f"{before.get(name, 'none')} → {now.get(name, 'none')}"
        for name in names
        if before.get(name) != now.get(name)
    }


def _beside(store: Store, name: str, mine: Reference) -> Comparison | None:
    """The canaries of the fingerprint that served before this one, or serves instead of it."""
    others = [each for each in records(store, name) if each.fp12 != mine.fp12]
    for each in sorted(others, key=lambda record: (record.serving, record.registered_at), reverse=True):
        before = reference(store, name, each.fp12)
        if before is not None and before.names == mine.names:
            return compared(before, mine)
    return None


def compared(before: Reference, now: Reference) -> Comparison:
    """Two fingerprints' canaries beside each other."""
    same = before.vectors.shape == now.vectors.shape
    cosine = float(np.mean(_cosines(now.vectors, before.vectors))) if same else None
    numbers = np.arange(len(now.names))
    near = [nearest(_unit(each.vectors), numbers, NEIGHBOURS) for each in (before, now)]
    return Comparison(before.fp12, cosine, round(float(in_common(*near).mean()), 4))


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Vectors = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return found
