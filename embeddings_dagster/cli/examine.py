"""`explain` and `verify`: one image followed to the end, and everything checked to the byte."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from embeddings_dagster.cli.options import AsJson, example
from embeddings_dagster.cli.project import here
from embeddings_dagster.cli.terminal import Column, moment, out, say, say_json, say_table, size

if TYPE_CHECKING:
    from embeddings_dagster.stages.explain import Step

PANEL = "Look"
COLOURS = {"current": "green", "stale": "yellow", "failed": "red", "missing": "yellow", "removed": "dim"}
METADATA_SHOWN = 200  # characters; `--json` has all
HASH_DIGITS = 12  # of 64: enough to compare by eye, `--json` has them all


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(rich_help_panel=PANEL, epilog=example("embeddings explain pictures:food/pizza.png"))(explain)
    app.command(rich_help_panel=PANEL, epilog=example("embeddings verify --json"))(verify)


def explain(
    context: typer.Context,
    image_id: Annotated[str, typer.Argument(metavar="ID", help="SOURCE:LOCAL_ID, as `search` prints it.")],
    as_json: AsJson = False,
) -> None:
    """Follow one image from ledger to index: rows, versions, runs, models, and why anything is stale or failed."""
    from embeddings_dagster.stages.explain import explain as follow

    project = here(context)
    answer = follow(project.store, project.settings, project.identities(), image_id)
    if as_json:
        say_json(asdict(answer))
        return
    _say_steps(answer.image_id, answer.steps)
    reasons: dict[tuple[str, str], list[str]] = {}
    for step in answer.steps:
        if step.why:
            reasons.setdefault((step.state, step.why), []).append(step.stage)
    for (state, why), stages in reasons.items():
        say(f"{', '.join(stages)} {state}: {why}", style=COLOURS[state])


def _say_steps(image_id: str, steps: "Sequence[Step]") -> None:
    batches = {step.batch for step in steps if step.batch}
    several = len(batches) > 1
    columns = [
        Column("stage"),
        *([Column("batch")] if several else []),
        Column("state"),
        Column("version", right=True),
        Column("committed"),
        Column("run"),
        Column("details", fold=True, style="dim"),
    ]
    rows = []
    for step in steps:
        details = ", ".join(f"{name.removesuffix('_ns')} {_short(name, value)}" for name, value in step.details.items())
        place = [step.batch] if several else []
        rows.append((step.stage, *place, step.state, step.version, moment(step.committed), step.run_id[:8], details))
    say_table(columns, rows, title=image_id if several else f"{image_id} in batch {', '.join(batches)}")


def _short(name: str, value: object) -> str:
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, dict):
        text = ", ".join(f"{key} {each}" for key, each in value.items())
        return text if len(text) <= METADATA_SHOWN else f"{text[: METADATA_SHOWN - 1]}…"
    if name == "size" and isinstance(value, int):
        return size(value)
    if name == "mtime_ns" and isinstance(value, int):
        return moment(datetime.fromtimestamp(value / 1e9).astimezone())
    if name in ("sha256", "input_hash", "record_hash"):
        return str(value)[:HASH_DIGITS]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def verify(context: typer.Context, as_json: AsJson = False) -> None:
    """Read every committed byte again, trusting nothing remembered; exit code 1 when anything is not as committed."""
    from embeddings_dagster.stages.verify import verify as everything

    project = here(context)
    if as_json or not out().is_terminal:
        problems = everything(project.store)
    else:
        with out().status("reading every committed file …"):
            problems = everything(project.store)
    if as_json:
        say_json([problem._asdict() for problem in problems])
    elif not problems:
        say("everything is as it was committed", style="green")
    else:
        columns = [Column("dataset"), Column("batch"), Column("file", fold=True), Column("rows"),
                   Column("what is wrong", fold=True), Column("what to do", fold=True)]  # fmt: skip
        say_table(columns, problems)
    if problems:
        raise typer.Exit(1)
