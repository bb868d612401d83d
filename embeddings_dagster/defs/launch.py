"""Runs that this project executes itself, in this process, on the project's instance: what `embeddings run` does is in
the UI's history like any other run.

Before each launch the runs whose process is gone are ended and their pool slots freed, so no launch waits for the dead.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events import RunFailureReason
from dagster._core.execution.api import execute_run_iterator

from embeddings_dagster.defs import lifecycle, tags
from embeddings_dagster.defs.behind import ledger_batches, raw_heads
from embeddings_dagster.defs.blocked import holds_up_indexes, is_blocking
from embeddings_dagster.defs.jobs import EMBED_BATCHES, REFRESH_INDEXES
from embeddings_dagster.defs.models import embeddings_name, index_name
from embeddings_dagster.defs.partitions import IMAGE_BATCHES, add_keys, drop_keys, known_keys
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.sensors import changed_keys
from embeddings_dagster.defs.signals import was_asked
from embeddings_dagster.errors import Stopped, UnknownItem
from embeddings_dagster.stages.analyses import OF_PICTURES
from embeddings_dagster.stages.catalog import ASSET
from embeddings_dagster.store.steps import reached

GROUP = 50  # batches in one run: each run costs half a second, and shows its batches together
IMAGE_ASSETS = ("raw_images", "rgb_images")
QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}  # the command line shows what matters itself


@dataclass(frozen=True)
class Options:
    """What a launch may be told; None and () mean: as the settings say, every model."""

    models: tuple[str, ...] = ()
    device: str | None = None
    precision: str | None = None
    batch_size: int | None = None
    retry_failed: bool = False
    force: bool = False
    heal: bool = False
    download: bool | None = None


@dataclass(frozen=True)
class Outcome:
    """How one run ended. `problems`: what went wrong, a line for each step that failed. `blocked`: a check failed, and
    no index is to be refreshed."""

    run_id: str
    batches: tuple[str, ...]
    success: bool
    problems: tuple[str, ...] = field(default=())
    blocked: bool = False


class Launcher:
    """Executes runs of a project's jobs. `say` takes lines for a person: why a run waits, what was cleaned up."""

    def __init__(
        self, definitions: dg.Definitions, project: Project, instance: dg.DagsterInstance, say: Callable[[str], None]
    ) -> None:
        self._definitions, self._project, self._instance, self._say = definitions, project, instance, say

    @property
    def instance(self) -> dg.DagsterInstance:
        """Where the runs are recorded."""
        return self._instance

    def batches(self, keys: Sequence[str], options: Options | None = None) -> Iterator[Outcome]:
        """Bring batches up to date, from raw_images to embeddings, a run for each group of neighbours.

        The caller has looked at the sources. What a batch needs nothing of costs nothing; a batch that fails leaves the
        others as they should be.

        Raises:
            Stopped: told to stop; what was whole is committed. The run counts as canceled.
            UnknownItem: a model is not in the settings.
        """
        options = options or Options()
        models = self._models(options)
        assets = [*IMAGE_ASSETS, *map(embeddings_name, models)]
        add_keys(self._instance, keys)
        reached("keys:added")
        for group in neighbours(list(self._instance.get_dynamic_partitions(IMAGE_BATCHES)), keys, GROUP):
            where = {tags.PARTITION: group[0]}
            if len(group) > 1:
                where = {tags.RANGE_START: group[0], tags.RANGE_END: group[-1]}
            yield self._execute(EMBED_BATCHES, assets, batch_config(models, options), where, tuple(group))

    def indexes(self, options: Options | None = None) -> Outcome:
        """Bring the indexes and the catalogue up to date; with `force`, every row of them is planned anew, and
        the catalogue made from nothing; with `heal`, segments of indexes are made anew that are damaged.

        Raises:
            Stopped: told to stop; each of them is as it was, or current.
            UnknownItem: a model is not in the settings.
        """
        options = options or Options()
        assets = [*map(index_name, self._models(options)), ASSET]
        config = {name: {"config": {"force": options.force, "heal": options.heal}} for name in assets}
        return self._execute(REFRESH_INDEXES, assets, config, {}, ())

    def drop_removed(self) -> list[str]:
        """Drop the partition keys of removed batches that are empty all down the line; returns them."""
        store = self._project.store
        batches = ledger_batches(store, store.sources())
        _, gone = changed_keys(self._project, batches, raw_heads(store, batches), known_keys(self._instance))
        drop_keys(self._instance, gone)
        reached("keys:dropped")
        return gone

    def events_of(self, batches: Collection[str]) -> int:
        """How many partitions of assets the event log has a materialisation of, for these batches."""
        assets = [*IMAGE_ASSETS, *map(embeddings_name, self._project.settings.spaces)]
        found = (self._instance.get_materialized_partitions(dg.AssetKey(name)) for name in assets)
        return sum(len(each & set(batches)) for each in found)

    def erase_shown(self) -> None:
        """Take the history of the analyses out of the event log, for it shows pictures."""
        keys = [dg.AssetKey(name) for name in OF_PICTURES]
        self._instance.wipe_assets([key for key in keys if self._instance.has_asset_key(key)])

    def _models(self, options: Options) -> Sequence[str]:
        known = self._project.settings.spaces
        for name in options.models:
            if name not in known:
                raise UnknownItem(f"no model {name!r} in the settings (there: {', '.join(known)}); correct the name")
        return options.models or tuple(known)

    def _execute(
        self,
        job_name: str,
        assets: Sequence[str],
        ops: Mapping[str, object],
        where: Mapping[str, str],
        batches: tuple[str, ...],
    ) -> Outcome:
        self.clean_up()
        job = self._definitions.resolve_job_def(job_name)
        selected = {dg.AssetKey(name) for name in assets}
        run = self._instance.create_run_for_job(
            job_def=job.get_subset(asset_selection=selected),
            run_config={"ops": dict(ops), "loggers": QUIET},
            tags={**job.run_tags, **where, tags.LAUNCHER: "cli", tags.DISCOVERED: "true", **lifecycle.process_tags()},
            asset_selection=frozenset(selected),
        )
        reached("run:created")
        problems = []
        failed_checks: dict[str, str] = {}
        blocked = False
        stopped = False
        try:
            for event in execute_run_iterator(InMemoryJob(job), run, self._instance):
                if event.is_step_failure:
                    problems.append(f"{event.step_key}: {failed_checks.get(str(event.step_key)) or _reason(event)}")
                elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                    check = event.asset_check_evaluation_data
                    blocked |= holds_up_indexes(check)
                    if is_blocking(check):
                        failed_checks[str(event.step_key)] = check.description or "failed"
                elif event.event_type == dg.DagsterEventType.RUN_FAILURE:
                    stopped |= event.job_failure_data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION
                elif event.message and "Step blocked by limit" in event.message:
                    self._say(f"{event.message}; waiting for it (Ctrl-C stops)")
        finally:
            ended = self._instance.get_run_by_id(run.run_id)
            if ended is not None and not ended.is_finished:
                lifecycle.end(self._instance, ended, "process left it unfinished")
        assert ended is not None, "the run was created above"
        if stopped or was_asked() or ended.status == dg.DagsterRunStatus.CANCELED:
            raise Stopped("stopped on request; what was whole is committed, run again to go on")
        return Outcome(run.run_id, batches, ended.is_success, tuple(problems), blocked)

    def clean_up(self) -> None:
        """End the runs whose process is gone, free their slots, and give pools their limits; every launch begins so."""
        for run_id in lifecycle.bury(self._instance):
            self._say(f"run {run_id[:8]} had no process any more; it is marked as failed and its pool slots are free")
        lifecycle.set_pool_limits(self._instance, self._project.pool_limits())


def _reason(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error.cause or data.error if data.error else None
    return error.message.strip() if error else "failed"


def batch_config(models: Sequence[str], options: Options) -> dict[str, object]:
    """Run config of the assets of a batch."""
    stage: dict[str, object] = {"retry_failed": options.retry_failed, "force": options.force, "heal": options.heal}
    if options.download is not None:
        stage["download"] = options.download
    given = {"device": options.device, "precision": options.precision, "batch_size": options.batch_size}
    encode = {**stage, **{name: value for name, value in given.items() if value is not None}}
    config: dict[str, object] = {name: {"config": stage} for name in IMAGE_ASSETS}
    return config | {embeddings_name(model): {"config": encode} for model in models}


def neighbours(known: Sequence[str], keys: Sequence[str], most: int) -> Iterator[list[str]]:
    """The keys in groups that lie side by side in the partition set, at most `most` each: a run takes a range of it."""
    place = {key: number for number, key in enumerate(known)}
    group: list[str] = []
    for key in sorted(set(keys), key=place.__getitem__):
        if group and (place[key] != place[group[-1]] + 1 or len(group) == most):
            yield group
            group = []
        group.append(key)
    if group:
        yield group
