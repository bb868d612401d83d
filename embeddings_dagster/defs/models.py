"""`<model>_embeddings` and `<model>_index`, made for every model in the settings: a new model is a line there."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg

from embeddings_dagster.defs.assets import backfill_policy
from embeddings_dagster.defs.batches import Done, Event, each_batch, failure_of
from embeddings_dagster.defs.blocked import require_unblocked
from embeddings_dagster.defs.config import EncodeConfig, RefreshConfig
from embeddings_dagster.defs.metadata import Metadata, column_schema, plain_metadata
from embeddings_dagster.defs.partitions import image_batches
from embeddings_dagster.defs.recall_plot import recall_metadata
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.signals import stop_on_signals
from embeddings_dagster.defs.tags import GPU_POOL, index_pool
from embeddings_dagster.errors import Stopped
from embeddings_dagster.index import GenerationManifest, Generations
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.index import IndexReport, refresh_index
from embeddings_dagster.stages.switching import switch_when_ready
from embeddings_dagster.store.tables import embeddings

EMBEDDINGS = "embeddings"
INDEXES = "indexes"
INDEX_CODE = "tuned-1"  # raise it when segments come out differently for the same vectors
VECTOR = {"embedding": "fixed_size_list<float32>[D]"}  # D is the model's, and known when its files are


def embeddings_name(model: str) -> str:
    return f"{model}_embeddings"


def index_name(model: str) -> str:
    return f"{model}_index"


def model_assets(project: Project) -> Sequence[dg.AssetsDefinition]:
    """Embeddings and index of every model."""
    models = project.settings.spaces
    return [
        *(embeddings_asset(project, name, model) for name, model in models.items()),
        *(index_asset(project, name) for name in models),
    ]


def code_version(model: ModelSettings) -> str:
    """What the settings say about the vectors; the weights' digest joins them in the fingerprint, at run time."""
    exact = "int8" if model.precision == "int8" else "float"  # how exactly floats are computed decides nothing
    where = Path(model.model).name if model.kind == "custom" else model.model
    said: list[object] = [model.kind, where, model.revision, exact, model.preprocessing, model.side]
    if model.precision == "int8":
        said.append(model.calibration)
    if model.network is not None:
        folders = {"architecture", "preprocess"}  # by the names of their files: a project may be moved
        said.append(model.network.model_dump(mode="json", exclude=folders))
        said += [written and Path(written).name for written in (model.network.architecture, model.network.preprocess)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]


def embeddings_asset(project: Project, name: str, model: ModelSettings) -> dg.AssetsDefinition:
    """The asset that encodes with one model."""
    settings = project.settings.dagster

    @dg.asset(
        name=embeddings_name(name),
        description=_description(model),
        deps=["rgb_images"],
        partitions_def=image_batches,
        group_name=EMBEDDINGS,
        kinds=_kinds(model),
        owners=settings.owners,
        op_tags=settings.op_tags,
        pool=GPU_POOL,
        code_version=code_version(model),
        metadata={"dagster/column_schema": column_schema(embeddings(1).schema, VECTOR), "model": model.model},
        backfill_policy=backfill_policy(settings),
    )
    def encode(context: dg.AssetExecutionContext, config: EncodeConfig) -> Iterator[Event]:
        def work(stage: StageContext, key: str) -> Done:
            return Done(run_embed(stage, name, config.applied_to(model), project.engine, key))

        yield from each_batch(context, project, config, work)

    return encode


def _kinds(model: ModelSettings) -> set[str]:
    library = "openvino" if model.runs_on_openvino else "pytorch"
    return {library, "parquet"} if model.kind == "custom" else {"huggingface", library, "parquet"}


def _description(model: ModelSettings) -> str:
    if model.side == "text":
        return f"A vector for each text that a record carries, by {model.model}; long ones are encoded in chunks."
    return (
        f"A vector for each region of each picture, by {model.model}; made only where none of the same pixels and the "
        "same model exists."
    )


def index_asset(project: Project, name: str) -> dg.AssetsDefinition:
    """The asset that keeps one model's index in step. It reads the store: `deps` is lineage, not data."""
    settings = project.settings.dagster
    upstream = dg.AssetDep(embeddings_name(name), partition_mapping=dg.AllPartitionMapping())

    @dg.asset(
        name=index_name(name),
        description=f"The searchable index of {embeddings_name(name)}, one segment for what is new, tuned to find "
        f"{project.settings.index.recall_target} of the true ten best; batches that are not there yet do not hold it "
        "up.",
        deps=[upstream],
        group_name=INDEXES,
        kinds={"faiss"},
        owners=settings.owners,
        op_tags=settings.op_tags,
        pool=index_pool(name),
        code_version=INDEX_CODE,
    )
    def refresh(context: dg.AssetExecutionContext, config: RefreshConfig) -> dg.MaterializeResult[object]:
        require_unblocked(context, ("raw_images", "rgb_images", embeddings_name(name)))
        try:
            with stop_on_signals() as stop:
                log = project.watch.log or context.log.info
                stage = project.stage_context(context.run.run_id, log, stop, force=config.force, heal=config.heal)
                report = refresh_index(stage, name)
                if report.generation is not None:
                    switch_when_ready(stage, name)
        except Stopped as stopped:
            raise dg.DagsterExecutionInterruptedError(str(stopped)) from None
        except Exception as error:
            raise failure_of(context, settings, {name: error}) from error
        if project.watch.index is not None:
            project.watch.index(report)
        metadata = {**report_metadata(report), **recall_metadata(_manifest(project, name, report))}
        return dg.MaterializeResult(metadata=metadata, data_version=_data_version(report))

    return refresh


def _manifest(project: Project, name: str, report: IndexReport) -> GenerationManifest | None:
    if report.generation is None:
        return None
    return Generations(project.store, name, report.fingerprint[:12]).get(report.generation)


def _data_version(report: IndexReport) -> dg.DataVersion:
    return dg.DataVersion(f"{report.fingerprint[:12]}/{report.generation or 0}")


def report_metadata(report: IndexReport) -> Metadata:
    """What a refresh shows: the generation, its rows, what was written."""
    return {"dagster/row_count": dg.MetadataValue.int(report.rows), **plain_metadata(report.as_dict())}
