"""What `search` and `recommend` share: the options that narrow a question down, and how its answer is shown."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embeddings_dagster.cli.catalog import short
from embeddings_dagster.cli.terminal import Column, note, say, say_json, say_table
from embeddings_dagster.ids import ALL, PARTS, Regions

if TYPE_CHECKING:
    from embeddings_dagster.search import Results, SearchHit

Model = Annotated[str | None, typer.Option("--model", help="Ask this model of the settings.")]
Weights = Annotated[
    str | None,
    typer.Option(metavar="MODEL=SHARE,…", help="Ask several models, each for its share: clip=0.6,dino=0.4."),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CONDITION",
        help="Among records with brand=Acme, price<=20, price=10..20, brand in Acme,Foo, title~shirt; may be given "
        "several times, all must hold.",
    ),
]
Words = Annotated[
    str | None, typer.Option(help='Among records with these words; "a phrase", begin*, -without.', metavar="WORDS")
]
Sources = Annotated[list[str] | None, typer.Option("--source", help="Only this source; may be given several times.")]
Batches = Annotated[
    list[str] | None, typer.Option("--batch", help="Only this batch, SOURCE__NAME; may be given several times.")
]
WithParts = Annotated[bool, typer.Option("--regions", help="Also parts of images, such as panels.")]
PartsOnly = Annotated[bool, typer.Option("--parts", help="Only parts of images.")]
Grouped = Annotated[
    bool | None,
    typer.Option("--group/--no-group", help="All that is found of an image is one hit; default where parts are."),
]
FacetFields = Annotated[
    list[str] | None, typer.Option("--facet", metavar="FIELD", help="Count the values of a field of the records.")
]
After = Annotated[str | None, typer.Option(help="Go on behind a page: what it said comes next.", metavar="CURSOR")]
Count = Annotated[int, typer.Option("-k", "--count", help="How many to show.", min=1, max=10_000)]

OWN_COLUMNS = ("title", "text", "region", "image_id")  # of the table, whatever else is shown
MOST_REGIONS = 4  # listed beside the best
WEIGHED = re.compile(r"(.+)\^([0-9]*\.?[0-9]+)", re.DOTALL)


def weighed(text: str, weight: float = 1.0) -> tuple[str, float]:
    """A thing to look for and its weight, typed as `THING^WEIGHT`, or else the usual one."""
    found = WEIGHED.fullmatch(text)
    return (found[1], float(found[2])) if found else (text, weight)


def weighed_path(text: str) -> tuple[Path, float]:
    """The same of a path; a file that is called so is meant as it stands."""
    path, weight = (text, 1.0) if os.path.lexists(text) else weighed(text)
    return Path(path), weight


def parse_weights(text: str | None) -> dict[str, float] | None:
    """`clip=0.6,dino=0.4` by model."""
    if text is None:
        return None
    found: dict[str, float] = {}
    for piece in text.split(","):
        name, _, share = (each.strip() for each in piece.partition("="))
        try:
            found[name] = float(share)
        except ValueError:
            raise typer.BadParameter(f"{text!r}: {piece!r} is no MODEL=SHARE; write clip=0.6,dino=0.4") from None
    if len(found) < len(text.split(",")):
        raise typer.BadParameter(f"{text!r} names a model twice")
    return found


def parse_regions(with_parts: bool, parts_only: bool) -> Regions | None:
    """What kinds of regions are asked for, if that was said."""
    if with_parts and parts_only:
        raise typer.BadParameter("--regions searches wholes and parts, --parts parts alone: give one of them")
    return PARTS if parts_only else ALL if with_parts else None


def say_answer(results: "Results", where: Sequence[str], facets: Sequence[str], *, as_json: bool) -> None:
    """The answer as JSON, or as tables that show the fields which conditions are on, or whose values are counted."""
    from embeddings_dagster.catalog import parse_condition

    if as_json:
        say_json(results.as_dict())
        return
    for name, values in results.facets.items():
        say_table([Column(name, fold=True), Column("rows", right=True)], values, title="")
    fields = dict.fromkeys([*(parse_condition(each).field for each in where), *facets])
    say_results(results, [name for name in fields if name.casefold() not in OWN_COLUMNS])


def say_results(results: "Results", fields: Sequence[str] = ()) -> None:
    """Rank, scores, id, record and path of each hit, and where the answer comes from."""
    if not results.hits:
        say(_nothing(results))
        return
    several = len(results.models) > 1
    optional: dict[str, Sequence[object]] = {
        "region": [hit.region or None for hit in results.hits],
        "title": [_title(hit) for hit in results.hits],
        **{name: [_value(hit, name) for hit in results.hits] for name in fields},
        "text": [short(hit.text) for hit in results.hits],
        "also": [_also(hit) for hit in results.hits],
    }
    shown = {name: values for name, values in optional.items() if any(value is not None for value in values)}
    columns = [
        Column("rank", right=True),
        Column("score", right=True),
        *(Column(each.model, right=True) for each in results.models if several),
        Column("image"),
        *(Column(name, right=name == "region", style="dim" if name == "text" else "") for name in shown),
        Column("path", style="dim"),
    ]
    rows = []
    for place, hit in enumerate(results.hits):
        scores = ["–" if each.score is None else f"{each.score:.3f}" for each in hit.scores if several]
        values = (each[place] for each in shown.values())
        rows.append((hit.rank, f"{hit.score:.3f}", *scores, hit.image_id, *values, short_path(hit.location)))
    say_table(columns, rows, title=results.query)
    _say_origin(results)


def _nothing(results: "Results") -> str:
    if not results.rows:
        return "nothing found: the index is empty"
    return "nothing found" if results.matching else "nothing found: no row of the index fulfils the conditions"


def _say_origin(results: "Results") -> None:
    answered = ", ".join(
        f"{each.model} {each.fingerprint[:12]} generation {each.generation}"
        + (f" × {each.weight:g}" if len(results.models) > 1 else "")
        for each in results.models
    )
    few = f"{results.matching:,} of " if results.matching < results.rows else ""
    note(f"{answered}, {few}{results.rows:,} rows, {results.seconds:.2f} s")
    if results.after:
        note(f"the next page: --after {results.after}")


def _title(hit: "SearchHit") -> str | None:
    """What its record calls it; the name of its file is at the end of its path."""
    return None if hit.title is None or (hit.location or "").endswith(hit.title) else short(hit.title)


def _value(hit: "SearchHit", name: str) -> str | None:
    """What its record says in a field, as conditions name it: dotted, in any case."""
    from embeddings_dagster.catalog.values import fields_of

    wanted = name.removeprefix("metadata.").casefold()
    found = [short(value) for field, value in fields_of(hit.metadata or {}) if field.casefold() == wanted]
    return short(", ".join(each for each in found if each is not None)) if found else None


def _also(hit: "SearchHit") -> str | None:
    """What is one hit with it: other regions, by their numbers, and copies, by their count."""
    regions = ["whole" if region == 0 else str(region) for region in sorted(each.region for each in hit.others)]
    more = [", ".join(regions[:MOST_REGIONS]) + ("…" if len(regions) > MOST_REGIONS else "")] if regions else []
    copies = [f"{len(hit.folded)} alike"] if hit.folded else []
    return "; ".join(more + copies) or None


def short_path(location: str | None) -> str:
    """A path as one would type it here: relative where the file lies beneath this folder."""
    if location is None:
        return "gone"
    if "://" in location:
        return location
    return os.path.normpath(location).removeprefix(os.path.join(os.getcwd(), ""))
