"""`gc`: what nobody needs any more is taken away, and what killed processes left behind."""

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from embeddings_dagster.cli.options import AsJson, example
from embeddings_dagster.cli.project import Here, here
from embeddings_dagster.cli.terminal import Column, note, say, say_json, say_table, size
from embeddings_dagster.errors import StoreError

if TYPE_CHECKING:
    from embeddings_dagster.stages.garbage import GarbageReport
    from embeddings_dagster.stages.garbage_bounds import Former
    from embeddings_dagster.stages.garbage_plan import Bounds

PANEL = "Manage"
DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhdw]?)")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
SOON = timedelta(hours=1)  # what is younger may be of a run that is under way
SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(rich_help_panel=PANEL, epilog=example("embeddings gc --dry-run", "embeddings gc --older-than 30d"))(gc)


def duration_of(text: str) -> timedelta:
    """`7d`, `12h`, `30m`, `45s`, `2w`; `0`.

    Raises:
        typer.BadParameter: it is none.
    """
    match = DURATION.fullmatch(text.strip().lower())
    if match is None or not (match[2] or float(match[1]) == 0):
        raise typer.BadParameter(f"{text!r} is no duration; write 7d, 12h, 30m or 0")
    try:
        return timedelta(**{UNITS[match[2] or "s"]: float(match[1])})
    except OverflowError as error:
        raise typer.BadParameter(f"{text!r} is longer than there have been pictures") from error


def gc(
    context: typer.Context,
    older_than: Annotated[
        str | None,
        typer.Option(
            help="Take nothing younger: 7d, 12h, 30m; default: as the settings say (7d). 0 is for when nothing runs "
            "and nobody searches.",
            metavar="DURATION",
        ),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(help="Keep so many complete versions of everything; default: 3.", min=1)
    ] = None,
    former_models: Annotated[
        bool,
        typer.Option(
            "--former-models",
            help="Take the vectors and indexes of fingerprints, too, that no model of the settings has any more.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be taken, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take away old versions, the files that only they need, and what killed processes left behind.

    Dagster does this weekly by itself. What anybody may still read stays: the newest complete version of everything and
    all after it, at least --keep complete ones, and whatever is younger than --older-than.
    """
    from embeddings_dagster.stages.garbage import collect, look_for_garbage
    from embeddings_dagster.stages.garbage_bounds import bounds_of, former_fingerprints
    from embeddings_dagster.stages.garbage_plan import Bounds

    age = None if older_than is None else duration_of(older_than)
    project = here(context)
    said = bounds_of(project.settings)
    bounds = Bounds(said.older_than if age is None else age, keep or said.keep)
    former = former_fingerprints(project.store, project.settings, project.identities())
    wanted = [each.name for each in former] if former_models else []
    if dry_run:
        report = look_for_garbage(project.store, bounds, former=wanted)
    else:
        if bounds.older_than < SOON:
            _require_nobody(project)
        from embeddings_dagster.defs.signals import stop_on_signals
        from embeddings_dagster.stages.context import StageContext

        with stop_on_signals() as stop:
            stage = StageContext(project.settings, project.store, run_id="cli", stop=stop)
            report = collect(project.store, bounds, former=wanted, check_stop=stage.check_stop)
    left = [] if former_models else former
    if as_json:
        say_json(_plain(report, bounds, left, dry_run=dry_run))
    else:
        _say(report, left, dry_run=dry_run)
    if report.failed:
        raise typer.Exit(1)


def _require_nobody(project: Here) -> None:
    """Raises:
    StoreError: a run is under way, and what it has just written looks like what a dead one left.
    """
    from embeddings_dagster.defs.home import project_home, project_instance
    from embeddings_dagster.defs.lifecycle import alive

    if not project_home(project.settings).is_dir():
        return
    with project_instance(project.settings) as instance:
        running = alive(instance)
    if running:
        raise StoreError(
            f"run {running[0][:8]} is under way, and --older-than of less than an hour is for when nothing runs; wait "
            "until it has ended, or name a longer time"
        )


def _plain(report: "GarbageReport", bounds: "Bounds", former: "list[Former]", *, dry_run: bool) -> dict[str, object]:
    from embeddings_dagster.store.litter import KINDS

    kinds = report.by_kind()
    return {
        "dry_run": dry_run,
        "older_than_seconds": bounds.older_than.total_seconds(),
        "keep": bounds.keep,
        "files": len(report.taken),
        "bytes": report.bytes,
        "kinds": {
            kind: {"files": count, "bytes": total, "what": KINDS[kind]} for kind, (count, total) in kinds.items()
        },
        "taken": [each._asdict() for each in report.taken],
        "failed": [each._asdict() for each in report.failed],
        "left_alone": [each._asdict() for each in report.alone],
        "former": [each._asdict() for each in former],
    }


def _say(report: "GarbageReport", former: "list[Former]", *, dry_run: bool) -> None:
    kinds = report.by_kind()
    if kinds:
        columns = [Column("kind"), Column("files", right=True), Column("size", right=True)]
        rows = [(kind, count, size(total)) for kind, (count, total) in kinds.items()]
        say_table(columns, [*rows, ("all", len(report.taken), size(report.bytes))], total=True)
    if dry_run:
        say("would be taken; nothing was changed" if kinds else "nothing would be taken")
    else:
        say("taken" if kinds else "nothing to take", style="green")
    for title, lines in (("left alone", report.alone), ("could not be deleted", report.failed)):
        for each in lines[:SHOWN]:
            note(f"{title}: {each.place}: {each.why}", style="yellow")
        if len(lines) > SHOWN:
            note(f"{title}: {len(lines) - SHOWN:,} more; `embeddings gc --json` lists them", style="yellow")
    for fingerprint in former:
        note(
            f"{fingerprint.model}: {size(fingerprint.bytes)} are of the former fingerprint {fingerprint.fp12}; a "
            "switch back would use them again, --former-models takes them"
        )
