"""`search`: a text, a picture or a known image in, the closest images out."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embeddings_dagster.cli.options import AsJson, ModelName, example
from embeddings_dagster.cli.project import here
from embeddings_dagster.cli.terminal import Column, note, say, say_json, say_table

if TYPE_CHECKING:
    from embeddings_dagster.search import Results

PANEL = "Search"


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(
        rich_help_panel=PANEL,
        epilog=example("embeddings search 'red heart'", "embeddings search --image photo.jpg -k 5"),
    )(search)


def search(
    context: typer.Context,
    text: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    image: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Look for images like this picture, in the index or not.")
    ] = None,
    image_id: Annotated[str | None, typer.Option("--id", help="Look for images like this one of the index.")] = None,
    model: ModelName = None,
    count: Annotated[int, typer.Option("-k", "--count", help="How many to show.", min=1, max=10_000)] = 10,
    as_json: AsJson = False,
) -> None:
    """Find the images closest to a text, a picture or a known image; give one of the three."""
    if sum(each is not None for each in (text, image, image_id)) != 1:
        raise typer.BadParameter("give one thing to look for: a TEXT, --image PATH or --id ID")
    from embeddings_dagster.search import SearchService

    project = here(context)
    service = SearchService(project.settings, project.store)
    results = service.search(text, image=image, image_id=image_id, model=model, k=count)
    if as_json:
        say_json(results.as_dict())
    else:
        say_results(results)


def say_results(results: "Results") -> None:
    """Rank, score, id and path of each hit, and where the answer comes from."""
    if not results.hits:
        say("nothing found: the index is empty")
        return
    columns = [Column("rank", right=True), Column("score", right=True), Column("image"), Column("path", style="dim")]
    rows = [(hit.rank, f"{hit.score:.3f}", hit.image_id, short_path(hit.location)) for hit in results.hits]
    say_table(columns, rows, title=results.query)
    note(
        f"{results.model} {results.fingerprint[:12]}, generation {results.generation}, {results.rows:,} rows, "
        f"{results.seconds:.2f} s"
    )


def short_path(location: str | None) -> str:
    """A path as one would type it here: relative where the file lies beneath this folder."""
    if location is None:
        return "gone"
    if "://" in location:
        return location
    return os.path.normpath(location).removeprefix(os.path.join(os.getcwd(), ""))
