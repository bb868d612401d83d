"""`doctor`: what is wrong here and what to do."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from embeddings_dagster.cli.options import AsJson, example
from embeddings_dagster.cli.project import here
from embeddings_dagster.cli.terminal import out, say_json
from embeddings_dagster.errors import EmbeddingsError

if TYPE_CHECKING:
    from embeddings_dagster.cli.findings import Finding

PANEL = "Manage"
MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(rich_help_panel=PANEL, epilog=example("embeddings doctor"))(doctor)


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Say what is wrong here and what to do; exit code 1 when anything fails."""
    found = []
    for finding in _examine(context):
        found.append(finding)
        if not as_json:
            remedy = f" → {finding.remedy}" if finding.remedy else ""
            out().print(f"{MARKS[finding.level]}  {escape(finding.what)}: {escape(finding.says + remedy)}")
    if as_json:
        say_json([asdict(finding) for finding in found])
    if any(finding.level == "fail" for finding in found):
        raise typer.Exit(1)


def _examine(context: typer.Context) -> "Iterator[Finding]":
    from embeddings_dagster.cli.findings import FAIL, LOOKS, Finding

    try:
        project = here(context)
    except EmbeddingsError as error:
        for line in str(error).splitlines():
            says, _, remedy = line.rpartition("; ")
            yield Finding(FAIL, "settings", says or line, remedy if says else "")
        return
    for look in LOOKS:
        yield from _guarded(look.__name__, look(project))


def _guarded(name: str, findings: "Iterator[Finding]") -> "Iterator[Finding]":
    """A look that breaks is a finding too: the others still have their turn."""
    from embeddings_dagster.cli.findings import FAIL, Finding

    try:
        yield from findings
    except Exception as error:  # it is the doctor's business to survive what is wrong
        yield Finding(FAIL, name, f"{type(error).__name__}: {error}", "see what is said above; else report it as a bug")
