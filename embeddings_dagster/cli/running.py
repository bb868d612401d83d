"""`run`: look at the sources, do what is to be done through Dagster, and account for every image.

Everything is executed in this process on the project's instance, so it is in the UI's history. What needs nothing is
not launched at all.
"""

import os
import time
import uuid
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embeddings_dagster.cli.launches import any_traces, hold, in_dead_hands, marked, sweep
from embeddings_dagster.cli.progress import RunProgress
from embeddings_dagster.cli.project import Here
from embeddings_dagster.cli.report import Report
from embeddings_dagster.errors import CommitConflict, CountsDoNotReconcile, SourceError, UnknownItem
from embeddings_dagster.ids import source_of
from embeddings_dagster.settings import FILE_VARIABLE

if TYPE_CHECKING:
    from embeddings_dagster.defs.launch import Launcher
    from embeddings_dagster.encoders import ModelIdentity
    from embeddings_dagster.stages.context import StageContext
    from embeddings_dagster.stages.discover import Discovery
    from embeddings_dagster.stages.status import BatchStatus


PROBLEMS_SHOWN = 20  # of a source, in words
LOOKS = 8  # sources looked at at one time


@dataclass(frozen=True)
class Wish:
    """What `run` was asked for; the defaults ask for everything, as the settings say."""

    sources: tuple[str, ...]
    batch: str | None = None
    models: tuple[str, ...] = ()
    sample: int | None = None
    device: str | None = None
    batch_size: int | None = None
    allow_removals: bool = False
    retry_failed: bool = False
    force: bool = False
    download: bool | None = None
    refresh: bool = False


def execute(project: Here, wish: Wish, progress: RunProgress) -> Report:
    """Do a run to its end. Dagster is not even loaded when there is nothing to launch.

    Raises:
        Stopped: told to stop; what was whole is committed.
        ModelError: a model that is wanted cannot be had; nothing was done.
        UnknownItem: the batch or a model does not exist.
    """
    report = Report()
    identities = _identities(project, wish)
    _discover(project, wish, report, progress)
    keys = _keys(project, wish, identities)
    if keys or wish.force or any_is_behind(project, identities) or any_traces(project.settings.cache_root):
        identities = _launch(project, wish, keys, report, progress)
    _account(project, wish, identities, keys, report)
    return report


def _launch(
    project: Here, wish: Wish, keys: list[str], report: Report, progress: RunProgress
) -> "dict[str, ModelIdentity]":
    """Do what is to be done, `keys` and what killed launches had in hand; returns the models as they are then."""
    from embeddings_dagster.defs.launch import Options

    options = Options(
        models=wish.models,
        device=wish.device,
        batch_size=wish.batch_size,
        retry_failed=wish.retry_failed,
        force=wish.force,
        download=wish.download,
    )
    cache = project.settings.cache_root
    with launcher(project, report, progress) as launch:
        launch.clean_up()
        blocked = False
        untold = in_dead_hands(cache)  # what they committed last, Dagster may not have heard of
        keys += sorted(_listed(project, untold or ()) - {*keys})
        hold(cache, keys)
        sweep(cache)
        for outcome in launch.batches(keys, options):
            report.take(outcome)
            blocked |= outcome.blocked
        identities = _identities(project, wish)  # a batch may have calibrated a model, which gives it its fingerprint
        if blocked:
            report.problems.append("no index and no catalogue was refreshed, for a check of a batch failed; run again")
        elif wish.force or untold is not None or any_is_behind(project, identities):
            report.take(launch.indexes(options))
        launch.drop_removed()
    return identities


def _listed(project: Here, batches: Collection[str]) -> set[str]:
    """Those of some batches that a source of the settings still has."""
    ledgers = {name: project.store.ledger(name).latest() for name in {source_of(batch) for batch in batches}}
    known = {name: ledger for name, ledger in ledgers.items() if ledger and name in project.settings.sources}
    return {batch for batch in batches if (ledger := known.get(source_of(batch))) and batch in ledger.batches}


@contextmanager
def launcher(project: Here, report: Report, progress: RunProgress) -> "Iterator[Launcher]":
    os.environ[FILE_VARIABLE] = str(project.file)  # whatever Dagster loads by itself is this project too
    from embeddings_dagster.defs.build import project_defs
    from embeddings_dagster.defs.home import project_instance
    from embeddings_dagster.defs.launch import Launcher
    from embeddings_dagster.defs.resources import Project, Watch

    watch = Watch(
        account=report.accounts.append,
        index=report.indexes.append,
        catalog=report.take_catalog,
        progress=progress.progress,
        log=progress.log,
    )
    shared = Project(project.settings, watch=watch)
    with marked(project.settings.cache_root), project_instance(project.settings) as instance:
        yield Launcher(project_defs(shared), shared, instance, progress.log)


def _identities(project: Here, wish: Wish) -> "dict[str, ModelIdentity]":
    """The models to encode with, fetched where they are not here yet."""
    from embeddings_dagster.stages.identities import identity
    from embeddings_dagster.stages.opened import model_settings

    names = wish.models or tuple(project.settings.spaces)
    return {name: identity(project.store, name, model_settings(project.settings, name)) for name in names}


def _discover(project: Here, wish: Wish, report: Report, progress: RunProgress) -> None:
    """Bring the ledgers up to date, side by side, since each waits for files to settle; a source that cannot be read
    costs the others nothing."""
    from embeddings_dagster.defs.signals import stop_on_signals
    from embeddings_dagster.stages.context import StageContext

    with stop_on_signals() as stop, ThreadPoolExecutor(max_workers=LOOKS) as pool:
        stage = StageContext(
            project.settings, project.store, str(uuid.uuid4()), progress.log, stop=stop, download=wish.download
        )
        looks = {name: pool.submit(_look, stage, name, wish) for name in wish.sources}
        for name, look in looks.items():
            try:
                report.seconds[name], found = look.result()
            except (SourceError, CommitConflict, CountsDoNotReconcile, OSError) as error:
                report.seconds[name] = 0.0
                report.problems.append(str(error))
            else:
                report.discoveries[name] = found
                _tell_problems(name, found, progress)


def _look(stage: "StageContext", name: str, wish: Wish) -> "tuple[float, Discovery]":
    """Seconds, and what was found."""
    from embeddings_dagster.stages.discover import discover

    started = time.monotonic()
    if wish.refresh:
        from embeddings_dagster.stages.refresh import refresh_downloads

        refresh_downloads(stage, name)
    found = discover(stage, name, wait=True, sample=wish.sample, allow_removals=wish.allow_removals)
    stage.check_stop()
    return time.monotonic() - started, found


def _tell_problems(name: str, found: "Discovery", progress: RunProgress) -> None:
    for problem in found.problems[:PROBLEMS_SHOWN]:
        progress.log(f"source {name}: {problem.location}: {problem.reason}")
    if len(found.problems) > PROBLEMS_SHOWN:
        more = len(found.problems) - PROBLEMS_SHOWN
        progress.log(f"source {name}: {more:,} more such lines; `embeddings run --json` lists them")


def _statuses(project: Here, wish: Wish, identities: "dict[str, ModelIdentity]", source: str) -> "list[BatchStatus]":
    from embeddings_dagster.stages.status import batch_statuses

    found = batch_statuses(project.store, project.settings, identities, source)
    return [each for each in found if wish.batch in (None, each.batch)]


def _keys(project: Here, wish: Wish, identities: "dict[str, ModelIdentity]") -> list[str]:
    """The batches that want a run.

    Raises:
        UnknownItem: the batch that was asked for is not there.
    """
    from embeddings_dagster.stages.tally import wants_run

    statuses = [each for source in wish.sources for each in _statuses(project, wish, identities, source)]
    if wish.batch is not None and not statuses:
        raise UnknownItem(f"no batch {wish.batch!r} in the ledger; `embeddings status --json` lists them")
    retry, force = wish.retry_failed, wish.force
    return [each.batch for each in statuses if wants_run(project.store, each, retry_failed=retry, force=force)]


def any_is_behind(project: Here, identities: "dict[str, ModelIdentity]") -> bool:
    """Whether a refresh of indexes and catalogue would do anything: take in a change, or let a fingerprint serve that
    does not yet."""
    from embeddings_dagster.stages.catalog_checks import catalog_lag
    from embeddings_dagster.stages.index_checks import index_consumed_is_current
    from embeddings_dagster.stages.switching import switch_is_due

    for name, identity in identities.items():
        check = index_consumed_is_current(project.store, name, identity)
        if not check.pinned and (not check.passed or switch_is_due(project.store, name, identity)):
            return True
    return catalog_lag(project.store).behind


def _account(
    project: Here, wish: Wish, identities: "dict[str, ModelIdentity]", keys: list[str], report: Report
) -> None:
    from embeddings_dagster.stages.tally import tally

    for source in wish.sources:
        statuses = _statuses(project, wish, identities, source)
        report.tallies.append(tally(project.store, identities, source, statuses, keys, report.run_ids))
        report.seconds[source] += sum(account.seconds for account in report.accounts_of(source))
    report.problems += [
        f"source {each.source}: {each.undone:,} of {each.total:,} images are undone, neither rows nor failures; run "
        "again, and where it comes back, with --force"
        for each in report.tallies
        if each.undone
    ]
