"""`index`: which generation of a model's index answers searches."""

import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from embeddings_dagster.cli.options import AsJson, ModelName, example
from embeddings_dagster.cli.project import Here, here
from embeddings_dagster.cli.terminal import Column, moment, note, said_kinds, said_recall, say, say_json, say_table
from embeddings_dagster.errors import UnknownItem

if TYPE_CHECKING:
    from embeddings_dagster.index import GenerationManifest

PANEL = "Manage"


def register(app: typer.Typer) -> None:
    """Add this module's group of commands."""
    index = typer.Typer(no_args_is_help=True, help="Generations of the indexes: list them, go back, go on.")
    index.command("list", epilog=example("embeddings index list --model clip"))(index_list)
    index.command("rollback", epilog=example("embeddings index rollback --model clip 3",
                                             "embeddings index rollback --release"))(index_rollback)  # fmt: skip
    app.add_typer(index, name="index", rich_help_panel=PANEL, epilog=example("embeddings index list"))


def _models(project: Here, model: str | None) -> list[str]:
    if model is not None and model not in project.settings.spaces:
        known = ", ".join(project.settings.spaces)
        raise UnknownItem(f"no model {model!r} in the settings (there: {known}); correct the name")
    return [model] if model else list(project.settings.spaces)


def index_list(context: typer.Context, model: ModelName = None, as_json: AsJson = False) -> None:
    """List the generations of each index, newest first."""
    from embeddings_dagster.stages.index_versions import index_list as listed

    project = here(context)
    entries = [entry for name in _models(project, model) for entry in listed(project.store, name)]
    if as_json:
        say_json([asdict(entry) for entry in entries])
        return
    if not entries:
        note("no index yet; make one with `embeddings run`")
        return
    columns = [Column("model"), Column("fingerprint", style="dim"), Column("generation", right=True), Column("made"),
               Column("rows", right=True), Column("segments"), Column("recall@10", right=True),
               Column("batches", right=True), Column("")]  # fmt: skip
    rows = []
    for entry in entries:
        says = ["searched" if entry.current and entry.serving else "", "pinned" if entry.pinned else "",
                f"is generation {entry.restores} again" if entry.restores else ""]  # fmt: skip
        rows.append((entry.model, entry.fp12, entry.generation, moment(entry.created_at), entry.rows,
                     said_kinds(entry.kinds), said_recall(entry.recall), entry.batches,
                     ", ".join(filter(None, says))))  # fmt: skip
    say_table(columns, rows)


def index_rollback(
    context: typer.Context,
    generation: Annotated[
        int | None, typer.Argument(help="The generation to bring back; default: the one before.", min=1)
    ] = None,
    model: ModelName = None,
    release: Annotated[bool, typer.Option("--release", help="End a rollback: refreshes go on from here.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring back an older generation and pin it, so that no refresh undoes it until --release."""
    from embeddings_dagster.stages import index_versions
    from embeddings_dagster.stages.context import StageContext

    project = here(context)
    names = _models(project, model)
    if release and generation is not None:
        raise typer.BadParameter("either a generation or --release")
    if not release and len(names) > 1:
        raise typer.BadParameter(f"say which with --model: {', '.join(names)}")
    stage = StageContext(project.settings, project.store, run_id="cli", log=note, stop=threading.Event())
    if release:
        done = {name: index_versions.index_release(stage, name) for name in names}
    else:
        done = {name: index_versions.index_rollback(stage, name, generation) for name in names}
    if as_json:
        say_json({name: _plain(manifest) for name, manifest in done.items()})
        return
    for name, manifest in done.items():
        if release:
            say(
                f"{name}: generation {manifest.version} with {manifest.rows:,} rows; refreshes go on (`embeddings run`)"
            )
        else:
            say(f"{name}: generation {manifest.restores} is back as generation {manifest.version}, "
                f"{manifest.rows:,} rows, pinned until `embeddings index rollback --release`")  # fmt: skip


def _plain(manifest: "GenerationManifest") -> dict[str, object]:
    return {"generation": manifest.version, "restores": manifest.restores, "pinned": manifest.pinned,
            "rows": manifest.rows, "created_at": manifest.created_at}  # fmt: skip
