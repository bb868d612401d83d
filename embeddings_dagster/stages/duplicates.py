"""`near_duplicates`: clusters of pictures that are nearly the same, kept in step with one model's index.

A run takes the whole pictures of the generation that searches see, looks at the thumbnails of those it has not seen
before, joins those that are close in hash, colour and vector (exact copies always), and commits one generation of
clusters. When nothing changed it writes nothing. Panels are left out: they are parts of pictures.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa

from embeddings_dagster.stages.analysis_files import Analysis, AnalysisManifest, StoredFile
from embeddings_dagster.stages.analysis_pictures import COLUMNS, NewestIndex, Pictures, newest_index
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.duplicates_clusters import COLOURS_APART, CROWD, LEADERS, Rule, joined
from embeddings_dagster.stages.duplicates_look import look_at
from embeddings_dagster.stages.duplicates_rows import SCHEMA, cluster_rows
from embeddings_dagster.stages.duplicates_signature import RULE
from embeddings_dagster.stages.held import held
from embeddings_dagster.stages.models import serving
from embeddings_dagster.stages.statistics import Statistics, without_zeros
from embeddings_dagster.store import Store

ASSET = "near_duplicates"
CLUSTERS = "clusters"  # the table among a generation's files
CODE = "clusters-1"  # raise it when other clusters come out for the same pictures and rule
BLOCK = 65_536  # rows written at one time
NONE_YET = "there are no near-duplicates yet; `embeddings duplicates --refresh` or the job `analyse` finds them"


@dataclass(frozen=True)
class DuplicatesReport:
    """What a run found. `pictures` that the index shows, of which `distinct` differ in a byte; `members` of `clusters`,
    the largest of `largest`; `copies` are exact ones of another. `unseen` have no thumbnail of what was indexed, and
    `crowded` share their hash with so many that they were compared with some only."""

    generation: int | None
    changed: bool
    model: str
    index_generation: int | None
    pictures: int = 0
    distinct: int = 0
    clusters: int = 0
    members: int = 0
    copies: int = 0
    largest: int = 0
    unseen: int = 0
    crowded: int = 0
    looked_at: int = 0
    bytes_written: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**asdict(self), "statistics": self.statistics.counts}

    @property
    def statistics(self) -> Statistics:
        """Every whole picture of the index was looked at, is an exact copy of one, or has no thumbnail to look at."""
        return Statistics(stage=ASSET, where=self.model, unit="pictures", total=self.pictures,
                          processed=self.distinct - self.unseen, skipped=self.copies, failed=self.unseen,
                          reasons=without_zeros(exact_copies=self.copies, without_a_thumbnail=self.unseen),
                          seconds=self.seconds)  # fmt: skip


def duplicates_of(store: Store) -> Analysis:
    """The generations of clusters."""
    return Analysis(store, ASSET)


def load_clusters(store: Store) -> Mapping[str, str] | None:
    """The representative's id of every picture of a cluster, itself included; None while there was no run yet.

    Raises:
        CorruptFile, MissingFile, FormatTooNew: what was committed cannot be read; the message says what to do.
    """
    analysis = duplicates_of(store)
    manifest = analysis.latest()
    if manifest is None:
        return None
    table = analysis.read_table(manifest, CLUSTERS)
    return dict(zip(table.column("image_id").to_pylist(), table.column("representative").to_pylist(), strict=True))


def refresh_duplicates(context: StageContext, model: str) -> DuplicatesReport:
    """Bring the clusters to the state of a model's index, as searches see it.

    Raises:
        Stopped: a stop was asked for; the clusters are as they were.
        CommitConflict: somebody else committed at the same moment; run again.
        CorruptFile: the index, or a part of rgb_images, is damaged.
    """
    started = time.monotonic()
    analysis = duplicates_of(context.store)
    with held(context, analysis.folder):
        base = analysis.latest()
        index = newest_index(context.store, model)
        if index is None and base is None:
            return DuplicatesReport(None, False, model, None)
        rule = Rule(context.settings.analysis.duplicate_bits, context.settings.analysis.duplicate_cosine)
        state = _state(model, index, rule)
        if base is None or base.state != state or not _is_sound(context, analysis, base):
            report, table = _found(context, model, index, rule)
            files = {CLUSTERS: _stored(analysis, base, table)}
            told = {**report.as_dict(), "rule": asdict(rule)}
            for name in ("generation", "changed", "looked_at", "bytes_written", "seconds", "statistics"):
                del told[name]
            made = analysis.follow(base, run_id=context.run_id, state=state, told=told, files=files)
            written = 0 if base and files == base.files else files[CLUSTERS].bytes
            report = replace(report, generation=made.version, changed=True, bytes_written=written)
        else:
            report = _reported(base)
    return replace(report, seconds=round(time.monotonic() - started, 3))


def reported(store: Store) -> DuplicatesReport | None:
    """What the newest run that found anything new found; None while there was none. Raises CorruptFile."""
    manifest = duplicates_of(store).latest()
    return _reported(manifest) if manifest else None


def _reported(manifest: AnalysisManifest) -> DuplicatesReport:
    told = {name: value for name, value in manifest.told.items() if name != "rule"}
    return DuplicatesReport(**told, generation=manifest.version, changed=False)


def _state(model: str, index: NewestIndex | None, rule: Rule) -> str:
    """Differs when the clusters may."""
    said = [CODE, RULE, COLOURS_APART, CROWD, LEADERS, rule.bits, rule.cosine, model, index.state if index else ""]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _is_sound(context: StageContext, analysis: Analysis, base: AnalysisManifest) -> bool:
    faults = analysis.faults(base)
    for fault in faults.values():
        context.log(f"the clusters of generation {base.version} are made anew: {fault}")
    return not faults


def _stored(analysis: Analysis, base: AnalysisManifest | None, table: pa.Table) -> StoredFile:
    """The file of a table: that of the generation before, where it holds the same."""
    if base is not None and not analysis.faults(base) and analysis.read_table(base, CLUSTERS).equals(table):
        return base.files[CLUSTERS]
    return analysis.write_table(SCHEMA, table.to_batches(BLOCK))


def _found(
    context: StageContext, model: str, index: NewestIndex | None, rule: Rule
) -> tuple[DuplicatesReport, pa.Table]:
    if index is None:
        return DuplicatesReport(None, True, model, None), SCHEMA.empty_table()
    pictures = Pictures.open(index)
    hashes = pictures.table.column("input_hash").combine_chunks().dictionary_encode()
    which = hashes.indices.to_numpy().astype(np.int64)
    _, firsts = np.unique(which, return_index=True)  # codes are 0, 1, …: one picture for each that differs
    distinct = pictures.table.take(pa.array(firsts))
    columns = (distinct.column(name).to_pylist() for name in COLUMNS)
    looks, looked_at = look_at(context, _inputs(context.store, model), *columns)
    groups = joined(
        looks.hashes, looks.colours, looks.hashed, rule, lambda numbers: pictures.vectors(firsts[numbers]),
        context.check_stop,
    )  # fmt: skip
    table = cluster_rows(pictures, which, firsts, groups, looks)
    sizes = table.group_by("representative").aggregate([([], "count_all")]).column("count_all").to_numpy()
    report = DuplicatesReport(
        generation=None,
        changed=True,
        model=model,
        index_generation=index.manifest.version,
        pictures=len(pictures),
        distinct=len(firsts),
        clusters=len(sizes),
        members=len(table),
        copies=len(pictures) - len(firsts),
        largest=int(sizes.max()) if len(sizes) else 0,
        unseen=int(np.count_nonzero(~looks.known)),
        crowded=groups.crowded,
        looked_at=looked_at,
    )
    return report, table


def _inputs(store: Store, model: str) -> str:
    """What the vectors of the serving fingerprint are made of; see `ModelIdentity.inputs`."""
    record = serving(store, model)
    network = record.model_settings().network if record else None
    return "images" if network is not None and network.regions == "together" else "regions"
