"""`catalog`: records by keyword, filter and facet, without a model."""

from typing import TYPE_CHECKING, Annotated

import typer

from embeddings_dagster.cli.options import AsJson, BatchKey, SourceName, example
from embeddings_dagster.cli.project import here
from embeddings_dagster.cli.terminal import Column, note, say, say_json, say_table

if TYPE_CHECKING:
    from embeddings_dagster.catalog import Facet, Field, Record, Snapshot

PANEL = "Search"
SHOWN = 60  # characters of a cell: a row stays a line
FEW_FIELDS = 6


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(
        rich_help_panel=PANEL,
        epilog=example(
            "embeddings catalog 'red shirt'",
            "embeddings catalog --where 'price<=20' --where 'brand in Acme,Foo' --facet brand",
        ),
    )(catalog)


def catalog(
    context: typer.Context,
    text: Annotated[
        str | None,
        typer.Argument(help='Words that must all occur; "a phrase", begin*, -without.'),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="brand=Acme, brand!=Acme, price<=20, price=10..20, brand in Acme,Foo, title~shirt, size= (missing), "
            "size!= (not missing); may be given several times, all must hold.",
        ),
    ] = None,
    facet: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="Count the values of a field; may be given several times.")
    ] = None,
    fields: Annotated[bool, typer.Option("--fields", help="List the fields that records carry.")] = False,
    source: SourceName = None,
    batch: BatchKey = None,
    regions: Annotated[bool, typer.Option("--regions", help="Also parts of images, such as panels.")] = False,
    count: Annotated[int, typer.Option("-k", "--count", help="How many to show.", min=1, max=10_000)] = 20,
    as_json: AsJson = False,
) -> None:
    """Find records by words and by what they say, and count their values; needs no model."""
    from embeddings_dagster.catalog import ALL, WHOLE, Catalogue, Filter

    project = here(context)
    project.require_source(source)
    wanted = Filter(
        where=tuple(where or ()),
        text=text,
        sources=(source,) if source else (),
        batches=(batch,) if batch else (),
        regions=ALL if regions else WHOLE,
    )
    with Catalogue(project.store).open() as snapshot:
        total = snapshot.count(wanted)
        facets = {name: snapshot.facets(name, wanted, limit=count) for name in facet or ()}
        listed = snapshot.fields() if fields else []
        records = [] if (facets or fields) and not as_json else snapshot.find(wanted, limit=count)
        if as_json:
            say_json(_document(snapshot, total, records, facets, listed))
            return
        _say_fields(listed)
        for name, values in facets.items():
            say_table([Column(name, fold=True), Column("rows", right=True)], values, title="")
        if not facets and not fields:
            say_records(records, ranked=text is not None, regions=regions)
        note(f"{total:,} of {snapshot.manifest.rows:,} rows, generation {snapshot.manifest.version}")


def _document(
    snapshot: "Snapshot", total: int, records: "list[Record]", facets: "dict[str, list[Facet]]", fields: "list[Field]"
) -> dict[str, object]:
    return {
        "generation": snapshot.manifest.version,
        "total": total,
        "records": [each.as_dict() for each in records],
        "facets": {name: [value._asdict() for value in values] for name, values in facets.items()},
        "fields": [each._asdict() for each in fields],
    }


def _say_fields(fields: "list[Field]") -> None:
    if fields:
        columns = [Column("field"), Column("numbers", right=True), Column("dates", right=True),
                   Column("texts", right=True)]  # fmt: skip
        say_table(columns, [(each.name, *(count or None for count in each[1:])) for each in fields])


def say_records(records: "list[Record]", *, ranked: bool, regions: bool) -> None:
    """A line for each: id, title, what it says, and the fields that most of them carry."""
    if not records:
        say("nothing found")
        return
    names = _common(records)
    columns = [
        *([Column("score", right=True)] if ranked else []),
        Column("image"),
        *([Column("region", right=True)] if regions else []),
        Column("title"),
        *(Column(name) for name in names),
        *([Column("text", style="dim")] if any(record.text for record in records) else []),
    ]
    rows = []
    for record in records:
        score = [f"{record.score:.2f}" if record.score is not None else None] if ranked else []
        place = [record.region] if regions else []
        values = [short(record.metadata.get(name)) for name in names]
        text = [short(record.text)] if any(each.text for each in records) else []
        rows.append((*score, record.image_id, *place, short(record.title), *values, *text))
    say_table(columns, rows)


def _common(records: "list[Record]") -> list[str]:
    """The fields that fit a line, those that most records carry first; a title has its own column."""
    counts: dict[str, int] = {}
    for record in records:
        for name, value in record.metadata.items():
            if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= SHOWN // 2):
                counts[name] = counts.get(name, 0) + 1
    names = [name for name in sorted(counts, key=lambda each: (-counts[each], each)) if name not in ("title", "name")]
    return names[:FEW_FIELDS]


def short(value: object) -> str | None:
    """A value as it fits a cell."""
    if value is None:
        return None
    text = f"{value:.15g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
