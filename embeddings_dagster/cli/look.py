"""`failures` and `files`: what could not be done, and where the rest lies."""

import csv
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from embeddings_dagster.cli.options import AsJson, BatchKey, SourceName, example
from embeddings_dagster.cli.project import here
from embeddings_dagster.cli.terminal import Column, note, say, say_json, say_table

if TYPE_CHECKING:
    from embeddings_dagster.stages.recorded import Recorded

PANEL = "Look"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a cell that begins with one of these
FAILURE_COLUMNS = (
    "image_id", "region", "stage", "error_class", "message", "retryable", "attempts", "seen_at", "source", "batch",
    "version",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(
        rich_help_panel=PANEL,
        epilog=example("embeddings failures --source art --retryable", "embeddings failures --csv > failures.csv"),
    )(failures)
    app.command(rich_help_panel=PANEL, epilog=example("embeddings files clip_embeddings --json"))(files)


def failures(
    context: typer.Context,
    stage: Annotated[str | None, typer.Option(help="Only this stage, such as rgb_images or clip_embeddings.")] = None,
    error_class: Annotated[str | None, typer.Option("--class", help="Only this kind, such as DecodeFailed.")] = None,
    source: SourceName = None,
    batch: BatchKey = None,
    retryable: Annotated[
        bool | None,
        typer.Option("--retryable/--permanent", help="Only those the next run tries again, or only the others."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, safe to open in a spreadsheet.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the images that could not be done, each with its reason."""
    from embeddings_dagster.stages.recorded import Wanted, recorded_failures

    project = here(context)
    project.require_source(source)
    wanted = Wanted(stage, error_class, source, batch, retryable)
    found = list(recorded_failures(project.store, project.identities(), wanted))
    if as_json:
        say_json([failure_row(each) for each in found])
    elif as_csv:
        _write_csv([failure_row(each) for each in found])
    elif not found:
        say("no failures")
    else:
        _say_failures(found)


def failure_row(recorded: "Recorded") -> dict[str, object]:
    """A failure as plain values, in the order of the CSV's columns."""
    values = {**asdict(recorded.failure), **asdict(recorded)}
    return {name: values[name] for name in FAILURE_COLUMNS}


def _write_csv(rows: list[dict[str, object]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(FAILURE_COLUMNS)
    for row in rows:
        writer.writerow([safe_cell(row[name]) for name in FAILURE_COLUMNS])


def safe_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: text that begins like one gets a leading apostrophe."""
    text = value.isoformat() if hasattr(value, "isoformat") else value
    return f"'{text}" if isinstance(text, str) and text.startswith(FORMULA) else text


def _say_failures(found: "list[Recorded]") -> None:
    columns = [Column("image", fold=True), Column("region", right=True), Column("stage"), Column("reason", fold=True),
               Column("tried", right=True), Column("again", style="dim")]  # fmt: skip
    rows = [
        (
            each.failure.image_id,
            each.failure.region or None,
            each.failure.stage,
            f"{each.failure.error_class}: {each.failure.message}",
            each.failure.attempts,
            "next run" if each.failure.retryable else "if changed",
        )
        for each in found
    ]
    say_table(columns, rows)
    permanent = sum(not each.failure.retryable for each in found)
    if permanent:
        note(
            f"{permanent:,} of {len(found):,} are tried again when they change, or with `embeddings run --retry-failed`"
        )


def files(
    context: typer.Context,
    asset: Annotated[
        str, typer.Argument(help="raw_images, rgb_images, <model>_embeddings, <model>_index or search_catalog.")
    ],
    source: SourceName = None,
    batch: BatchKey = None,
    as_json: AsJson = False,
) -> None:
    """List the files that make up an asset now, for other tools; a file may hold rows that no longer count."""
    from embeddings_dagster.stages.live_files import live_files

    project = here(context)
    found = [
        each
        for each in live_files(project.store, project.identities(), asset)
        if batch in (None, each.batch) and (source is None or (each.batch or "").startswith(f"{source}__"))
    ]
    if as_json:
        say_json([asdict(each) for each in found])
        return
    for each in found:
        say(each.path)
    dead = [each for each in found if each.dead]
    if dead:
        count = sum(len(each.dead) for each in dead)
        note(f"{count:,} rows in {len(dead):,} of these files are dead, to be left out: `--json` lists them by number")
    if not found:
        note(f"{asset} has no files yet")
