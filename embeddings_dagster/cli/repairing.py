"""`verify --repair`: what is damaged is made anew from what it was made of, in the order of the graph.

Rows are made by an ordinary run of their batches, which heals and does nothing else, so that its counts and lineage are
in Dagster's history; all else by the functions of `stages/repair*`.
"""

import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from embeddings_dagster.cli.progress import RunProgress
from embeddings_dagster.cli.project import Here
from embeddings_dagster.cli.report import Report
from embeddings_dagster.cli.running import launcher
from embeddings_dagster.errors import EmbeddingsError, ModelError, StoreError
from embeddings_dagster.ids import source_of

if TYPE_CHECKING:
    from embeddings_dagster.defs.launch import Launcher
    from embeddings_dagster.encoders import ModelIdentity
    from embeddings_dagster.stages.context import StageContext
    from embeddings_dagster.stages.repair import Done
    from embeddings_dagster.store import Problem


def repair(project: Here, problems: "Sequence[Problem]", progress: RunProgress) -> "Done":
    """Repair what can be; says what was done, and what could not be.

    Raises:
        Stopped: told to stop; what was repaired is committed, and repeating it goes on from there.
    """
    from embeddings_dagster.stages.context import StageContext
    from embeddings_dagster.stages.repair import Done, drop_downloads

    done, report = Done(), Report()
    context = StageContext(project.settings, project.store, str(uuid.uuid4()), progress.log)
    with launcher(project, report, progress) as launch:
        launch.clean_up()
        drop_downloads(context, problems, done)
        _calibrations(context, problems, done)
        _ledgers(context, problems, done)
        identities = _identities(project, done)
        _batches(context, problems, launch, identities, done)
        _registries(context, problems, identities, done)
        _indexes(context, problems, launch, identities, done)
        _analyses(context, problems, done)
    return done


def _try(done: "Done", what: str, work: Callable[[], object]) -> None:
    """One repair that fails costs no other."""
    try:
        work()
    except (EmbeddingsError, OSError) as error:
        done.refused.append(f"{what}: {error}")


def _identities(project: Here, done: "Done") -> "dict[str, ModelIdentity]":
    from embeddings_dagster.stages.identities import identity

    found = {}
    for name, model in project.settings.spaces.items():
        try:
            found[name] = identity(project.store, name, model, download=False)
        except (ModelError, StoreError) as error:
            done.refused.append(f"what model {name} made cannot be repaired: {error}")
    return found


def _calibrations(context: "StageContext", problems: "Sequence[Problem]", done: "Done") -> None:
    from embeddings_dagster.stages.repair import repair_calibrations

    for model in sorted({each.batch for each in problems if each.dataset == "models"}):
        _try(done, f"calibrations of {model}", partial(repair_calibrations, context, model, done))


def _ledgers(context: "StageContext", problems: "Sequence[Problem]", done: "Done") -> None:
    from embeddings_dagster.stages.repair_ledger import repair_ledger

    def work(source: str) -> None:
        made = repair_ledger(context, source)
        if made.batches:
            proven = f"{len(made.proven):,} of them proven to be as they were"
            done.repaired.append(f"ledger of {source}: {len(made.batches):,} batches made anew, {proven}")
        done.repaired += [f"{path} is cleared away" for path in made.cleared]
        done.refused += [
            f"{batch}: nothing that can be read names {count:,} of its pictures any more; `embeddings run` takes in as "
            "new what of them is at the source"
            for batch, count in made.unnamed.items()
        ]

    touched = {source_of(each.batch) for each in problems if each.dataset in ("sources", "raw_images")}
    for source in sorted(touched & {*context.store.files.folders("sources"), *context.settings.sources}):
        _try(done, f"ledger of {source}", partial(work, source))


def _batches(
    context: "StageContext",
    problems: "Sequence[Problem]",
    launch: "Launcher",
    identities: "dict[str, ModelIdentity]",
    done: "Done",
) -> None:
    from embeddings_dagster.defs.launch import Options
    from embeddings_dagster.stages.repair_rows import clear, places, prepare

    ready = []
    ours = places(identities)
    for dataset in sorted({each.dataset for each in problems if each.dataset.startswith("embeddings/")} - {*ours}):
        done.refused.append(
            f"{dataset}: the settings do not ask for this fingerprint; restore it from a backup, or delete its folder, "
            "and that of its index"
        )
    for batch in sorted({each.batch for each in problems if each.dataset in ours}):
        refused = prepare(context, batch, identities)
        if refused is None:
            ready.append(batch)
        else:
            done.refused.append(f"{batch}: {refused.reason}")
    for outcome in launch.batches(ready, Options(models=tuple(identities), heal=True)) if ready else ():
        if outcome.success:
            done.repaired += [
                f"{batch}: what was damaged is made anew, by run {outcome.run_id}" for batch in outcome.batches
            ]
        done.refused += outcome.problems
        for batch in outcome.batches:
            done.repaired += [f"{path} is cleared away" for path in clear(context.store, batch, identities)]


def _registries(
    context: "StageContext", problems: "Sequence[Problem]", identities: "dict[str, ModelIdentity]", done: "Done"
) -> None:
    from embeddings_dagster.stages.repair import repair_registry

    for model in sorted({each.batch for each in problems if each.dataset == "models"}):
        _try(done, f"registry of {model}", partial(repair_registry, context, model, identities.get(model), done))


def _indexes(
    context: "StageContext",
    problems: "Sequence[Problem]",
    launch: "Launcher",
    identities: "dict[str, ModelIdentity]",
    done: "Done",
) -> None:
    from embeddings_dagster.defs.launch import Options
    from embeddings_dagster.stages.repair import clear_older, make_room

    rows = any(each.dataset.startswith(("sources", "raw_images", "rgb_images", "embeddings/")) for each in problems)
    heal = any(each.dataset in ("indexes", "models") for each in problems)
    anew = any(each.dataset == "catalog" for each in problems)
    if rows or heal or anew:
        _try(done, "indexes", partial(make_room, context, identities, done))
        outcome = launch.indexes(Options(models=tuple(identities), heal=heal, force=anew))
        done.refused += outcome.problems
        if outcome.success and (heal or anew):
            done.repaired.append(f"indexes and catalogue: what was damaged is made anew, by run {outcome.run_id}")
        _try(done, "indexes", partial(clear_older, context, done))


def _analyses(context: "StageContext", problems: "Sequence[Problem]", done: "Done") -> None:
    from embeddings_dagster.stages.repair import repair_analyses

    damaged = {each.batch for each in problems if each.dataset == "analysis"}
    if damaged:
        _try(done, "analyses", partial(repair_analyses, context, damaged, done))
