"""Options that several commands share, said once, and the example that ends every command's help."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for a program.")]
SourceName = Annotated[str | None, typer.Option("--source", help="Only this source.")]
BatchKey = Annotated[str | None, typer.Option("--batch", help="Only this batch, SOURCE__NAME.")]
ModelName = Annotated[str | None, typer.Option("--model", help="Only this model of the settings.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Folder = Annotated[Path, typer.Argument(help="The project's folder.", show_default="here")]


def example(*lines: str) -> str:
    """The epilog of a command: how it is typed."""
    return "Example: " + "   ".join(f"[bold]{line}[/]" for line in lines)
