"""`search_catalog`: the asset, its checks, and the request for a refresh when raw_images has something new."""

from collections.abc import Callable, Iterator

import dagster as dg

from embeddings_dagster.catalog import LAYOUT
from embeddings_dagster.defs import tags
from embeddings_dagster.defs.asking import next_attempt
from embeddings_dagster.defs.batches import failure_of
from embeddings_dagster.defs.blocked import require_unblocked
from embeddings_dagster.defs.config import RefreshConfig
from embeddings_dagster.defs.metadata import Metadata, plain_metadata
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.signals import stop_on_signals
from embeddings_dagster.errors import Stopped
from embeddings_dagster.stages.catalog import ASSET, CatalogReport, refresh_catalog
from embeddings_dagster.stages.catalog_checks import (
    catalog_consumed_is_current,
    catalog_lag,
    catalog_rows_equal_live_rows,
)
from embeddings_dagster.stages.index_checks import CheckResult
from embeddings_dagster.store import Store

GROUP = "catalog"


def catalog_asset(project: Project) -> dg.AssetsDefinition:
    """The asset that keeps the catalogue in step. It reads the store: `deps` is lineage, not data."""
    settings = project.settings.dagster

    @dg.asset(
        name=ASSET,
        description="Metadata, text and item of every live row, for filters, facet counts and keyword search; batches "
        "that are not there yet do not hold it up.",
        deps=[dg.AssetDep("raw_images", partition_mapping=dg.AllPartitionMapping())],
        group_name=GROUP,
        kinds={"sqlite"},
        owners=settings.owners,
        op_tags=settings.op_tags,
        pool=tags.CATALOG_POOL,
        code_version=f"layout-{LAYOUT}",
    )
    def refresh(context: dg.AssetExecutionContext, config: RefreshConfig) -> dg.MaterializeResult[object]:
        require_unblocked(context, ("raw_images",))
        try:
            with stop_on_signals() as stop:
                log = project.watch.log or context.log.info
                report = refresh_catalog(project.stage_context(context.run.run_id, log, stop, force=config.force))
        except Stopped as stopped:
            raise dg.DagsterExecutionInterruptedError(str(stopped)) from None
        except Exception as error:
            raise failure_of(context, settings, {ASSET: error}) from error
        if project.watch.catalog is not None:
            project.watch.catalog(report)
        return dg.MaterializeResult(
            metadata=_metadata(report), data_version=dg.DataVersion(str(report.generation or 0))
        )

    return refresh


def _metadata(report: CatalogReport) -> Metadata:
    return {"dagster/row_count": dg.MetadataValue.int(report.rows), **plain_metadata(report.as_dict())}


def catalog_checks(project: Project) -> Iterator[dg.AssetChecksDefinition]:
    """Rows, and what was consumed."""
    rows = "The catalogue holds the newest record of every picture, in a sound file."
    yield _check(project, "rows_equal_live_rows", rows, catalog_rows_equal_live_rows, blocking=True)
    consumed = "The catalogue has taken in every batch as it is."
    yield _check(project, "consumed_is_current", consumed, catalog_consumed_is_current)


def _check(
    project: Project, name: str, description: str, look: Callable[[Store], CheckResult], *, blocking: bool = False
) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=ASSET, name=name, description=description, blocking=blocking, op_tags=project.settings.dagster.op_tags
    )
    def check() -> dg.AssetCheckResult:
        found = look(project.store)
        return dg.AssetCheckResult(
            passed=found.passed,
            severity=dg.AssetCheckSeverity.WARN if found.behind else dg.AssetCheckSeverity.ERROR,
            description=found.description,
            metadata=plain_metadata(found.detail),
        )

    return check


def catalog_request(instance: dg.DagsterInstance, project: Project) -> dg.RunRequest | None:
    """The refresh to ask for now, if the catalogue lags behind, and none is under way or has just failed.

    Raises:
        CorruptFile: whether it lags behind cannot be told.
    """
    lag = catalog_lag(project.store)
    if not lag.behind:
        return None
    state = lag.inputs.digest()
    asked = {tags.CATALOG: "true", tags.STATE: state}
    attempt = next_attempt(instance, project.settings.dagster, {tags.CATALOG: "true"}, asked)
    if attempt is None:
        return None
    return dg.RunRequest(run_key=f"{ASSET}:{state}:{attempt}", asset_selection=[dg.AssetKey(ASSET)], tags=asked)
