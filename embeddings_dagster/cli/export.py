"""`export`: vectors as files in the shapes that other programs read."""

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from embeddings_dagster.cli.hits import short_path
from embeddings_dagster.cli.options import AsJson, example
from embeddings_dagster.cli.progress import RunProgress
from embeddings_dagster.cli.project import here
from embeddings_dagster.cli.terminal import note, say, say_json, size

if TYPE_CHECKING:
    from embeddings_dagster.exports import ExportReport, Wanted
    from embeddings_dagster.stages.context import StageContext

PANEL = "Look"

Sources = Annotated[
    list[str] | None, typer.Option("--source", help="Only this source; may be given several times. Default: all.")
]
Batches = Annotated[list[str] | None, typer.Option("--batch", help="Only this batch, SOURCE__NAME; several times.")]
Model = Annotated[str | None, typer.Option("--model", help="Whose vectors; default: the model that search takes.")]
Where = Annotated[
    list[str] | None,
    typer.Option(metavar="CONDITION", help="Only pictures whose record fulfils it: brand=Acme, price<=20, …, as in "
                 "`embeddings catalog`; several times."),
]  # fmt: skip
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR|FILE", help="Where to; default: exports/SOURCE/MODEL in the project's data."),
]
AllPictures = Annotated[
    bool, typer.Option("--all-pictures", help="Every picture of an item (ID, ID#1, …), not only its first.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that no export made.")]


class Export(Protocol):
    """`export_npy` and its like."""

    def __call__(
        self, context: "StageContext", wanted: "Wanted", out: Path | None, *, force: bool
    ) -> "ExportReport": ...


def register(app: typer.Typer) -> None:
    """Add this module's group of commands."""
    export = typer.Typer(no_args_is_help=True, help="Vectors as files for other programs: npy, json or faiss.")
    export.command("npy", epilog=example("embeddings export npy --source art --out art.npy"))(export_npy)
    export.command("json", epilog=example("embeddings export json --source art --out web/art.json"))(export_json)
    export.command("faiss", epilog=example("embeddings export faiss --source shop --model clip"))(export_faiss)
    app.add_typer(export, name="export", rich_help_panel=PANEL, epilog=example("embeddings export npy --source art"))


def export_npy(
    context: typer.Context,
    source: Sources = None,
    batch: Batches = None,
    model: Model = None,
    where: Where = None,
    out: Out = None,
    all_pictures: AllPictures = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write vectors as .npy, a row a picture in natural order of ids: in a folder with embedding_metadata.json, or
    FILE.npy, with FILE_ids.json unless ids are 1, 2, … N."""
    from embeddings_dagster import exports

    wanted = _wanted(source, batch, model, where, all_pictures=all_pictures)
    _export(context, exports.export_npy, wanted, out, force=force, as_json=as_json)


def export_json(
    context: typer.Context,
    source: Sources = None,
    batch: Batches = None,
    model: Model = None,
    where: Where = None,
    out: Out = None,
    all_pictures: AllPictures = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write vectors as JSON for a web page: an array of arrays, and FILE_metadata.json beside it."""
    from embeddings_dagster import exports

    wanted = _wanted(source, batch, model, where, all_pictures=all_pictures)
    _export(context, exports.export_json, wanted, out, force=force, as_json=as_json)


def export_faiss(
    context: typer.Context,
    source: Sources = None,
    batch: Batches = None,
    model: Model = None,
    where: Where = None,
    out: Out = None,
    all_pictures: AllPictures = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write an HNSW index that plain faiss opens, hnsw_MODEL_DIMENSION.faiss, with its ids as JSON."""
    from embeddings_dagster import exports

    wanted = _wanted(source, batch, model, where, all_pictures=all_pictures)
    _export(context, exports.export_faiss, wanted, out, force=force, as_json=as_json)


def _wanted(
    source: list[str] | None, batch: list[str] | None, model: str | None, where: list[str] | None, *, all_pictures: bool
) -> "Wanted":
    from embeddings_dagster.exports import Wanted

    return Wanted(
        model=model,
        sources=tuple(source or ()),
        batches=tuple(batch or ()),
        where=tuple(where or ()),
        pictures="all" if all_pictures else "first",
    )


def _export(
    context: typer.Context, export: Export, wanted: "Wanted", out: Path | None, *, force: bool, as_json: bool
) -> None:
    """Do it, obeying signals between two blocks, and say what there is now."""
    from embeddings_dagster.defs.signals import stop_on_signals
    from embeddings_dagster.stages.context import StageContext

    project = here(context)
    for name in wanted.sources:
        project.require_source(name)
    with stop_on_signals() as stop, RunProgress() as progress:
        stage = StageContext(
            project.settings, project.store, str(uuid.uuid4()), progress.log, progress.progress, stop=stop
        )
        report = export(stage, wanted, out and out.expanduser(), force=force)
    if as_json:
        say_json(report.as_dict())
    else:
        _say(report)


def _say(report: "ExportReport") -> None:
    what = f"{report.rows:,} vectors of {report.dimension} numbers"
    recall = f", recall@10 {report.recall:.3f}" if report.recall is not None else ""
    say(f"exported {what}, checked{recall}:", style="green")
    for file in report.files:
        say(f"  {short_path(str(file.path))} ({size(file.bytes)})")
    left = [f"{count:,} {what}" for count, what in ((report.parts, "parts of pictures"),
            (report.further, "further pictures of items")) if count]  # fmt: skip
    if left:
        note(f"left out: {' and '.join(left)}")
    if report.scaled:
        note("this model's own vectors have other lengths; here, as in the index, they have length 1")
    note(f"{report.model} {report.fingerprint[:12]}, generation {report.generation}, {report.seconds:.2f} s")
