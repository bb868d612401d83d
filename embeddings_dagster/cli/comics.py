"""`comics-specs`: page specs from a mapping, predictions and texts, for a source of comics to read."""

import csv
import io
from pathlib import Path
from typing import Annotated, Literal

import typer

from embeddings_dagster.cli.look import safe_cell
from embeddings_dagster.cli.options import AsJson, example
from embeddings_dagster.cli.terminal import Column, note, out, say, say_json, say_table
from embeddings_dagster.errors import SourceError

PANEL = "Start"


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(
        "comics-specs",
        rich_help_panel=PANEL,
        epilog=example("embeddings comics-specs mapping.csv predictions.json specs --text-root texts"),
    )(comics_specs)


def _file_name(name: str) -> str:
    if not name or name != Path(name).name or "\\" in name or name.lower().endswith(".json") or not name.isprintable():
        raise typer.BadParameter("a plain file name, and not that of a spec (.json)")
    return name


def comics_specs(
    mapping: Annotated[Path, typer.Argument(metavar="MAPPING.csv", help="A line a page: picture, prediction, text.")],
    coco: Annotated[Path, typer.Argument(metavar="COCO.json", help="Predicted boxes, in COCO's format.")],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Where the specs and their list go.")],
    text_root: Annotated[
        Path | None, typer.Option(help="The folder of the text files; default: that of the mapping.")
    ] = None,
    subset: Annotated[
        Literal["perfect", "all"],
        typer.Option(help="perfect: as many boxes as texts. all: every page that has predictions."),
    ] = "perfect",
    min_score: Annotated[float, typer.Option(help="Predictions below it are left out.")] = 0.5,
    category: Annotated[
        list[int] | None, typer.Option(help="The category that is a panel; may be repeated.", show_default="1")
    ] = None,
    list_name: Annotated[str, typer.Option(help="The name of the list in OUT.", callback=_file_name)] = "pages.txt",
    as_json: AsJson = False,
) -> None:
    """Make page specs for a source of comics; every row of the mapping is written, or left out for a reason."""
    from embeddings_dagster.sources.page_specs import Made, make_page_specs

    def make() -> Made:
        return make_page_specs(
            mapping,
            coco,
            folder,
            text_root=text_root or mapping.parent,
            subset=subset,
            min_score=min_score,
            categories=category or [1],
            list_name=list_name,
        )

    if as_json or not out().is_terminal:
        made = make()
    else:
        with out().status("pairing boxes with texts …"):
            made = make()
    report = folder / f"{Path(list_name).stem}_left_out.csv"
    _write_report(report, made.left_out)
    if as_json:
        say_json(
            {
                "rows": made.rows,
                "written": made.written,
                "changed": made.changed,
                "uneven": made.uneven,
                "without_text": dict(made.without_text),
                "left_out": made.reasons,
                "annotations": dict(made.annotations),
                "list": str(made.list_file),
                "report": str(report),
            }
        )
        return
    rows = [("written", made.written), *((f"left out: {reason}", count) for reason, count in made.reasons.items())]
    say_table([Column("pages", fold=True), Column("", right=True)], [*rows, ("total", made.rows)], total=True)
    fates = ", ".join(f"{count:,} {fate}" for fate, count in sorted(made.annotations.items()))
    say(f"annotations: {fates or 'none'}")
    if made.uneven or made.without_text:
        without = sum(made.without_text.values())
        note(f"of the pages written, {made.uneven:,} have more boxes than texts or fewer, {without:,} have no text")
    say(f"wrote {made.list_file}, {made.changed:,} specs were new or changed")
    if made.left_out:
        note(f"each page that was left out is in {report}")


def _write_report(path: Path, left_out: "tuple[tuple[object, ...], ...]") -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("line", "page", "reason", "detail"))
    writer.writerows([safe_cell(cell) for cell in each] for each in left_out)
    from embeddings_dagster.sources.page_specs import put_file

    try:
        put_file(path, text.getvalue().encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise SourceError(f"the report {str(path)!r} cannot be written ({error.strerror}); make room for it") from error
