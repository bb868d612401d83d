"""The command `run`."""

import re
import sys
from typing import Annotated

import typer

from embeddings_dagster.cli.options import AsJson, BatchKey, ModelName, SourceName, Yes, example
from embeddings_dagster.cli.progress import RunProgress
from embeddings_dagster.cli.project import here
from embeddings_dagster.cli.report import say_report
from embeddings_dagster.cli.terminal import say_json

PANEL = "Run"


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(rich_help_panel=PANEL, epilog=example("embeddings run", "embeddings run --source art --retry-failed"))(
        run
    )


def _device(said: str | None) -> str | None:
    from embeddings_dagster.settings_models import DEVICE

    if said is not None and not re.fullmatch(DEVICE, said):
        raise typer.BadParameter(f"{said!r} is none of auto, cpu, cuda, cuda:N and mps")
    return said


def run(
    context: typer.Context,
    source: SourceName = None,
    batch: BatchKey = None,
    model: ModelName = None,
    sample: Annotated[
        int | None, typer.Option(metavar="N", help="Let at most N images of a source in; none leaves for it.", min=1)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Images the model takes at once.", min=1, max=4096)
    ] = None,
    device: Annotated[str | None, typer.Option(callback=_device, help="auto, cpu, cuda, cuda:N or mps.")] = None,
    download: Annotated[
        bool | None,
        typer.Option(
            "--download-missing/--no-download", help="Fetch pictures of catalogues, or use those that are here."
        ),
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="First ask for the pictures of catalogues again, whether they changed.")
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try every recorded failure again.")] = False,
    allow_removals: Annotated[
        bool, typer.Option("--allow-removals", help="Let more images go than `removals` in the settings allows.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Make every row anew; asks first.")] = False,
    yes: Yes = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 when any image is recorded as failed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring everything up to date, from files to search index; what is current costs nothing."""
    project = here(context)
    sources = project.source_names(source, batch)
    if force and not yes:
        _ask(sources)
    from embeddings_dagster.cli.running import Wish, execute

    models = (model,) if model else ()
    wish = Wish(tuple(sources), batch, models, sample, device, batch_size, allow_removals, retry_failed, force,
                download, refresh)  # fmt: skip
    with RunProgress() as progress:
        report = execute(project, wish, progress)
    if as_json:
        say_json(report.document())
    else:
        say_report(report)
    if report.problems or (strict and report.failed):
        raise typer.Exit(1)


def _ask(sources: list[str]) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("--force asks before it begins; where nobody can answer, add --yes")
    typer.confirm(f"Make every row of {', '.join(sources)} anew?", abort=True)
