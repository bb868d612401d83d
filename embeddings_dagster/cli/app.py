"""The command's tree: the one place that lists what there is, in the order that help shows it."""

from pathlib import Path
from typing import Annotated

import typer

from embeddings_dagster import __version__
from embeddings_dagster.cli import (
    analysis,
    ask,
    catalog,
    check,
    comics,
    demonstrate,
    examine,
    export,
    forget,
    gc,
    look,
    manage,
    models,
    planning,
    recommend,
    run,
    standing,
    start,
)

app = typer.Typer(
    name="embeddings",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: [bold]embeddings init --source ./pictures && embeddings run && embeddings search 'red heart'[/]",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"embeddings {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    settings: Annotated[
        Path | None,
        typer.Option(help="The settings file; default: $EMBEDDINGS_SETTINGS, else embeddings.yaml here or above."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """From a growing pile of pictures to a search that is right, fresh and fast."""
    context.obj = settings


LOOKING = (ask, recommend, catalog, analysis, standing, look, examine, export)
for module in (start, demonstrate, comics, planning, run, *LOOKING, manage, models, gc, forget, check):
    module.register(app)
