"""`index`: which generation of a model's index answers searches, and how many segments it has."""

import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from embeddings_dagster.cli.options import AsJson, ModelName, example
from embeddings_dagster.cli.project import Here, here
from embeddings_dagster.cli.terminal import (
    Column,
    duration,
    moment,
    note,
    said_kinds,
    said_recall,
    say,
    say_json,
    say_table,
    size,
)
from embeddings_dagster.errors import ModelUnavailable, UnknownItem

if TYPE_CHECKING:
    from embeddings_dagster.index import GenerationManifest
    from embeddings_dagster.stages.compact import CompactReport

PANEL = "Manage"


def register(app: typer.Typer) -> None:
    """Add this module's group of commands."""
    index = typer.Typer(
        no_args_is_help=True, help="Generations of the indexes: list them, merge their segments, go back, go on."
    )
    index.command("list", epilog=example("embeddings index list --model clip"))(index_list)
    index.command("rollback", epilog=example("embeddings index rollback --model clip 3",
                                             "embeddings index rollback --release"))(index_rollback)  # fmt: skip
    index.command("compact", epilog=example("embeddings index compact --max-seconds 60"))(index_compact)
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


def index_compact(
    context: typer.Context,
    model: ModelName = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Begin no merge later, all models together; default: until it is done.", min=0)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Merge small segments into large ones and leave dead rows behind; answers stay the same.

    Each merge is committed for itself, so Ctrl-C keeps those that are whole. Dagster does this hourly by itself.
    """
    import math
    import time

    from embeddings_dagster.defs.signals import stop_on_signals
    from embeddings_dagster.stages.compact import compact_index
    from embeddings_dagster.stages.context import StageContext

    project = here(context)
    names = _models(project, model)
    identities = project.identities()
    if model is not None and model not in identities:
        raise ModelUnavailable(f"which index of {model} to compact cannot be told; bring the model's files here")
    until = time.monotonic() + (math.inf if max_seconds is None else max_seconds)
    done = []
    with stop_on_signals() as stop:
        stage = StageContext(project.settings, project.store, run_id="cli", log=note, stop=stop)
        for name in filter(identities.__contains__, names):
            done.append(compact_index(stage, name, identities[name], max_seconds=until - time.monotonic()))
    if as_json:
        say_json([report.as_dict() for report in done])
        return
    _say_compacted(done)


def _say_compacted(done: "list[CompactReport]") -> None:
    columns = [Column("model"), Column("rows", right=True), Column("segments", right=True), Column("bytes", right=True),
               Column("merged", right=True), Column("dead rows gone", right=True), Column("seconds", right=True),
               Column("", fold=True)]  # fmt: skip
    rows = []
    for each in done:
        rows.append((each.model, each.rows, f"{each.segments_before:,} → {each.segments_after:,}",
                     f"{size(each.bytes_before)} → {size(each.bytes_after)}", each.merged, each.dropped,
                     duration(each.seconds), _why_not(each)))  # fmt: skip
    say_table(columns, rows)


def _why_not(report: "CompactReport") -> str:
    if report.generation is None:
        return "no index yet"
    if report.pinned:
        return "pinned by a rollback; `embeddings index rollback --release` lets it go on"
    return "" if report.finished else "not finished; compact again to go on"
