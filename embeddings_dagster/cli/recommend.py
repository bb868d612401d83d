"""`recommend`: some images of the index in, others like all of them out."""

from typing import Annotated

import typer

from embeddings_dagster.cli.hits import (
    After,
    Batches,
    Count,
    FacetFields,
    Grouped,
    Model,
    PartsOnly,
    Sources,
    Weights,
    Where,
    WithParts,
    Words,
    parse_regions,
    parse_weights,
    say_answer,
)
from embeddings_dagster.cli.options import AsJson, example
from embeddings_dagster.cli.project import here

PANEL = "Search"


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(
        rich_help_panel=PANEL,
        epilog=example("embeddings recommend cats/tom.png cats/kitty.png", "embeddings recommend 1001 --not 2003 -k 5"),
    )(recommend)


def recommend(
    context: typer.Context,
    image_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Images of the index, one or several.")],
    unlike: Annotated[
        list[str] | None, typer.Option("--not", metavar="ID", help="Not like this image of the index.")
    ] = None,
    model: Model = None,
    weights: Weights = None,
    where: Where = None,
    words: Words = None,
    sources: Sources = None,
    batches: Batches = None,
    with_parts: WithParts = False,
    parts_only: PartsOnly = False,
    group: Grouped = None,
    fold: Annotated[bool, typer.Option("--fold/--no-fold", help="Copies of an image are one hit.")] = True,
    facets: FacetFields = None,
    after: After = None,
    count: Count = 10,
    as_json: AsJson = False,
) -> None:
    """Find images like all of those given, but neither them nor copies of them."""
    if model is not None and weights is not None:
        raise typer.BadParameter("--model asks one model, --weights several: give one of them")
    shares, regions = parse_weights(weights), parse_regions(with_parts, parts_only)
    from embeddings_dagster.search import SearchService

    project = here(context)
    results = SearchService(project.settings, project.store).recommend(
        image_ids, unlike=unlike or (), model=model, weights=shares, where=where or (), words=words,
        sources=sources or (), batches=batches or (), regions=regions, group=group, fold=fold, facets=facets or (),
        k=count, after=after,
    )  # fmt: skip
    say_answer(results, where or (), facets or (), as_json=as_json)
