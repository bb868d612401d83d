"""`search`: texts, pictures and known images in, the closest images out."""

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
    weighed,
    weighed_path,
)
from embeddings_dagster.cli.options import AsJson, example
from embeddings_dagster.cli.project import here

PANEL = "Search"


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(
        rich_help_panel=PANEL,
        epilog=example(
            "embeddings search 'red heart'",
            "embeddings search cat --not lion",
            "embeddings search --image photo.jpg --weights clip=0.6,dino=0.4 --where 'price<=20'",
        ),
    )(search)


def search(
    context: typer.Context,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="What to look for, in words; TEXT^2 weighs double.")
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="PATH", help="Look for images like this picture, in the index or not."),
    ] = None,
    image_ids: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="Look for images like this one of the index.")
    ] = None,
    unlike: Annotated[
        list[str] | None, typer.Option("--not", metavar="TEXT", help="Not like this; TEXT^0.5 is firmer, 0.2 usual.")
    ] = None,
    unlike_ids: Annotated[
        list[str] | None, typer.Option("--not-id", metavar="ID", help="Not like this image of the index.")
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
    fold: Annotated[bool, typer.Option("--fold/--no-fold", help="Copies of an image are one hit.")] = False,
    facets: FacetFields = None,
    after: After = None,
    count: Count = 10,
    as_json: AsJson = False,
) -> None:
    """Find the images closest to texts, pictures or known images, and not to others; several add up."""
    if not (texts or images or image_ids):
        raise typer.BadParameter("give something to look for: a TEXT, --image PATH or --id ID")
    if model is not None and weights is not None:
        raise typer.BadParameter("--model asks one model, --weights several: give one of them")
    shares, regions = parse_weights(weights), parse_regions(with_parts, parts_only)
    from embeddings_dagster.search import IdQuery, ImageQuery, SearchService, Term, TextQuery
    from embeddings_dagster.search.question import UNLIKE

    terms = [
        *(Term(TextQuery(text), weight) for text, weight in map(weighed, texts or ())),
        *(Term(ImageQuery(path), weight) for path, weight in map(weighed_path, images or ())),
        *(Term(IdQuery(image_id), weight) for image_id, weight in map(weighed, image_ids or ())),
        *(Term(TextQuery(text), -weight) for text, weight in (weighed(each, UNLIKE) for each in unlike or ())),
        *(
            Term(IdQuery(image_id), -weight)
            for image_id, weight in (weighed(each, UNLIKE) for each in unlike_ids or ())
        ),
    ]
    project = here(context)
    results = SearchService(project.settings, project.store).search(
        terms=terms, model=model, weights=shares, where=where or (), words=words, sources=sources or (),
        batches=batches or (), regions=regions, group=group, fold=fold, facets=facets or (), k=count, after=after,
    )  # fmt: skip
    say_answer(results, where or (), facets or (), as_json=as_json)
