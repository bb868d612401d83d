"""`explain` and `verify`: one image followed to the end, and everything checked to the byte."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embeddings_dagster.cli.options import AsJson, example
from embeddings_dagster.cli.project import HOME_NAME, HOME_VARIABLE, Here, here
from embeddings_dagster.cli.terminal import Column, moment, note, out, say, say_json, say_table, size

if TYPE_CHECKING:
    from embeddings_dagster.stages.explain import Step
    from embeddings_dagster.store import Problem

PANEL = "Look"
COLOURS = {"current": "green", "stale": "yellow", "failed": "red", "missing": "yellow", "removed": "dim"}
METADATA_SHOWN = 200  # characters; `--json` has all
HASH_DIGITS = 12  # of 64: enough to compare by eye, `--json` has them all


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(rich_help_panel=PANEL, epilog=example("embeddings explain pictures:food/pizza.png"))(explain)
    app.command(rich_help_panel=PANEL, epilog=example("embeddings verify", "embeddings verify --repair"))(verify)


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


def verify(
    context: typer.Context,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make anew what is damaged, from what it was made of, and nothing else.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read every committed byte again, trusting nothing remembered; exit code 1 when anything is not as committed."""
    project = here(context)
    problems = _found(project, quiet=as_json)
    if repair and problems:
        well = _repair(project, problems, as_json=as_json)
    else:
        well = not problems
        if repair and as_json:
            say_json({"problems": [], "repaired": [], "refused": [], "left": []})
        else:
            _say_problems(problems, as_json=as_json)
    if not well:
        raise typer.Exit(1)


def _repair(project: Here, problems: "list[Problem]", *, as_json: bool) -> bool:
    """Repair, and verify again; returns whether everything damaged could be made anew."""
    from embeddings_dagster.cli.progress import RunProgress
    from embeddings_dagster.cli.repairing import repair

    if not as_json:
        _say_problems(problems, as_json=False)
    with RunProgress() as progress:
        done = repair(project, problems, progress)
    left = _found(project, quiet=as_json)
    if as_json:
        told = {"problems": problems, "left": left}
        plain = {name: [each._asdict() for each in some] for name, some in told.items()}
        say_json({**plain, "repaired": done.repaired, "refused": done.refused})
        return not left and not done.refused
    for line in done.repaired:
        say(line)
    for line in done.refused:
        say(line, style="yellow")
    if left:
        say(f"{len(left):,} problems are left:", style="yellow")
    _say_problems(left, as_json=False)
    return not left and not done.refused


def _found(project: Here, *, quiet: bool) -> "list[Problem]":
    """Everything that is wrong: in the store, with exports and downloads, and by Dagster's event log."""
    from embeddings_dagster.exports.verify import verify_exports
    from embeddings_dagster.stages.verify import verify as everything
    from embeddings_dagster.stages.verify_downloads import download_problems

    def look() -> "list[Problem]":
        store = project.store
        found = [*everything(store), *verify_exports(store), *download_problems(project.settings)]
        return [*found, *_unknown_to(found, _recorded(project))]

    if quiet or not out().is_terminal:
        return look()
    with out().status("reading every committed file …"):
        return look()


def _unknown_to(found: "list[Problem]", more: "list[Problem]") -> "list[Problem]":
    """Those of `more` of which the same file was not found yet."""
    known = {each.file for each in found}
    return [each for each in more if each.file not in known]


def _recorded(project: Here) -> "list[Problem]":
    """What Dagster's event log says was there, and is not; nothing where there is no history."""
    home = Path(os.environ.get(HOME_VARIABLE) or project.settings.root / HOME_NAME).expanduser()
    if not (home / "dagster.yaml").exists():
        return []
    from embeddings_dagster.defs.home import project_instance
    from embeddings_dagster.defs.lost import lost_versions

    try:
        with project_instance(project.settings) as instance:
            return lost_versions(instance, project.store, project.settings)
    except Exception as error:  # of whatever storage it has: the store was verified all the same
        note(f"Dagster's event log in {home} could not be compared: {error}", style="yellow")
        return []


def _say_problems(problems: "list[Problem]", *, as_json: bool) -> None:
    if as_json:
        say_json([problem._asdict() for problem in problems])
    elif not problems:
        say("everything is as it was committed", style="green")
    else:
        columns = [Column("dataset"), Column("batch"), Column("file", fold=True), Column("rows"),
                   Column("what is wrong", fold=True), Column("what to do", fold=True)]  # fmt: skip
        say_table(columns, problems)
