"""`forget`: what a source left behind goes, when its owner says so."""

import os
import sys
import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from embeddings_dagster.cli.options import AsJson, Yes, example
from embeddings_dagster.cli.progress import RunProgress
from embeddings_dagster.cli.project import Here, here
from embeddings_dagster.cli.report import Report
from embeddings_dagster.cli.terminal import note, say, say_json
from embeddings_dagster.errors import StoreError

if TYPE_CHECKING:
    from embeddings_dagster.stages.forget import Forgotten

PANEL = "Manage"


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(rich_help_panel=PANEL, epilog=example("embeddings forget old-shop", "embeddings forget art__000003"))(
        forget
    )


def forget(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="SOURCE|BATCH", help="What is to go; a source is out of the settings by then.")
    ],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Forget a source or a batch: empty it down the line, drop its partitions, erase its files, and say what stays."""
    from embeddings_dagster.stages.forget import to_forget

    project = here(context)
    wanted = to_forget(project.store, project.settings, name)
    if not yes:
        _ask(wanted)
    with RunProgress() as progress:
        stays = _forget(project, wanted, progress)
    if as_json:
        say_json({**asdict(wanted), "stays": stays})
        return
    say(f"forgot {name}: {len(wanted.batches):,} batches, {wanted.images:,} images", style="green")
    note("near-duplicates and maps are gone, too; the job `analyse` makes them anew, without it")
    for line in stays:
        note(f"stays: {line}")


def _ask(wanted: "Forgotten") -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("forget asks before it begins; where nobody can answer, add --yes")
    what = f"{len(wanted.batches):,} batches of {wanted.source} with {wanted.images:,} images"
    typer.confirm(f"Forget {what}, and all that was made of them?", abort=True)


def _forget(project: Here, wanted: "Forgotten", progress: RunProgress) -> list[str]:
    from embeddings_dagster.cli.running import launcher
    from embeddings_dagster.defs.behind import emptied
    from embeddings_dagster.defs.launch import Options
    from embeddings_dagster.defs.partitions import drop_keys, known_keys
    from embeddings_dagster.stages.context import StageContext
    from embeddings_dagster.stages.forget import erase, let_go

    let_go(StageContext(project.settings, project.store, str(uuid.uuid4()), progress.log), wanted)
    identities = project.identities()
    report = Report()
    with launcher(project, report, progress) as launch:
        launch.clean_up()
        for outcome in launch.batches(_made(project, wanted)):
            report.take(outcome)
        report.take(launch.indexes())
        left = sorted({*wanted.batches} - {*emptied(project.store, wanted.batches, identities)})
        if report.problems or left:
            raise StoreError("; ".join([*report.problems, *(f"{batch} is not empty" for batch in left)])
                             + "; nothing was erased: mend that, and forget again")  # fmt: skip
        drop_keys(launch.instance, known_keys(launch.instance) & set(wanted.batches))
        launch.erase_shown()
        erase(project.store, project.settings, wanted)
        report.take(launch.indexes(Options(force=True)))  # nothing of its records stays in files of the catalogue
        return _stays(project, wanted, launch.events_of(wanted.batches))


def _made(project: Here, wanted: "Forgotten") -> list[str]:
    """The batches of which anything was ever made."""
    return [batch for batch in wanted.batches if project.store.chain("raw_images", batch).head() is not None]


def _stays(project: Here, wanted: "Forgotten", events: int) -> list[str]:
    from embeddings_dagster.exports.target import FREE
    from embeddings_dagster.stages.forget import still_served

    answers, holds = still_served(project.store, project.identities(), wanted.batches)
    lines = [
        f"{events:,} materialisations of its partitions in Dagster's event log, with their counts and tables of "
        f"failures, and the runs that made them (in {os.environ.get('DAGSTER_HOME', '.dagster')})"
    ]
    lines += [f"{folder}: segments may hold vectors of it, which no search returns" for folder in holds]
    lines += [f"{model} still answers from an index of its former fingerprint; `embeddings run` ends that, or where "
              f"that one is held, `embeddings model switch {model}`" for model in answers]  # fmt: skip
    exported = project.store.files.local(FREE)
    if exported is not None and exported.exists():
        lines.append(f"{exported}: exports, which are yours, may hold vectors and ids of it")
    return lines
