"""`duplicates` and `map`: which pictures are nearly the same, and all of them at one glance."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embeddings_dagster.cli.options import AsJson, example
from embeddings_dagster.cli.project import Here, here
from embeddings_dagster.cli.terminal import Column, note, say, say_json, say_table
from embeddings_dagster.errors import IndexUnavailable, StoreError

if TYPE_CHECKING:
    from embeddings_dagster.stages.context import StageContext
    from embeddings_dagster.stages.duplicates_sheet import Cluster

PANEL = "Search"
MEMBERS = 6  # of a cluster, in a row of the table

Refresh = Annotated[
    bool, typer.Option("--refresh", help="Bring it up to date with the index first, as the job `analyse` does.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(
        rich_help_panel=PANEL,
        epilog=example("embeddings duplicates --refresh", "embeddings duplicates --sheet duplicates.jpg"),
    )(duplicates)
    app.command("map", rich_help_panel=PANEL, epilog=example("embeddings map --out map.png"))(draw)


def duplicates(
    context: typer.Context,
    count: Annotated[int, typer.Option("-k", "--count", help="How many clusters to show.", min=1, max=100_000)] = 20,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a contact sheet of the largest clusters, a JPEG.")
    ] = None,
    refresh: Refresh = False,
    as_json: AsJson = False,
) -> None:
    """List pictures that are nearly the same: recompressed, resized, brightened, slightly cropped; largest first."""
    from embeddings_dagster.stages.analysis_pictures import analysed_model
    from embeddings_dagster.stages.duplicates import refresh_duplicates, reported
    from embeddings_dagster.stages.duplicates_sheet import SHOWN, contact_sheet, largest_clusters

    project = here(context)
    if refresh:
        refresh_duplicates(_stage(project), analysed_model(project.settings))
    clusters = largest_clusters(project.store, count, None if as_json else max(MEMBERS + 1, SHOWN))
    report = reported(project.store)
    if sheet is not None:
        data = contact_sheet(project.store, clusters[:SHOWN])
        if data is None:
            note("there are no near-duplicates, so no contact sheet was written")
        else:
            _write(sheet, data)
    if as_json:
        summary = report.as_dict() if report else {}
        say_json({**summary, "listed": [each.as_dict() for each in clusters]})
        return
    _say_clusters(clusters)
    if report is not None:
        note(
            f"{report.members:,} of {report.pictures:,} pictures in {report.clusters:,} clusters, {report.copies:,} of "
            f"them exact copies; {report.model}, generation {report.generation}"
        )


def _say_clusters(clusters: "list[Cluster]") -> None:
    if not clusters:
        say("no pictures are nearly the same")
        return
    columns = [Column("pictures", right=True), Column("stands for them"), Column("others", fold=True),
               Column("least cosine", right=True), Column("most bits", right=True)]  # fmt: skip
    rows = []
    for each in clusters:
        others = each.members[1:]
        named = ", ".join(member.image_id for member in others[:MEMBERS])
        more = f", {each.size - 1 - MEMBERS:,} more" if each.size - 1 > MEMBERS else ""
        bits = [member.bits for member in others if member.bits is not None]
        rows.append((each.size, each.representative, named + more, f"{min(m.cosine for m in others):.3f}",
                     max(bits, default=None)))  # fmt: skip
    say_table(columns, rows)


def draw(
    context: typer.Context,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to write it; .png, or .jpg for a smaller file.")
    ] = Path("map.png"),
    model: Annotated[
        str | None, typer.Option("--model", help="Whose vectors; default: analysis.model, else the first model.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw the pictures in two dimensions, those that a model finds alike side by side; of many, a sample."""
    from embeddings_dagster.stages.analysis_pictures import analysed_model
    from embeddings_dagster.stages.embedding_map import read_picture, read_small_picture, refresh_map

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise typer.BadParameter(f"{out} is neither a .png nor a .jpg; name the file so")
    project = here(context)
    name = analysed_model(project.settings, model)
    report = refresh_map(_stage(project), name)
    read = read_picture if out.suffix.lower() == ".png" else read_small_picture
    data = read(project.store, name)
    if data is None:
        raise IndexUnavailable(
            f"model {name!r} has no index yet, so there is nothing to draw; `embeddings run` makes it"
        )
    _write(out, data)
    if as_json:
        say_json({**report.as_dict(), "file": str(out)})
    else:
        say(f"{out}: {report.shown:,} of {report.pictures:,} pictures by {name}")


def _stage(project: Here) -> "StageContext":
    from embeddings_dagster.stages.context import StageContext

    return StageContext(project.settings, project.store, run_id="cli", log=note, stop=threading.Event())


def _write(file: Path, data: bytes) -> None:
    """Raises:
    StoreError: the file cannot be written.
    """
    try:
        file.write_bytes(data)
    except OSError as error:
        raise StoreError(f"{file} cannot be written ({error.strerror}); name another place") from error
    note(f"wrote {file}")
