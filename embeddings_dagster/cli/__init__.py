"""The command `embeddings`: every error of ours is one line on stderr and an exit code, never a traceback.

Exit codes: 0 all inputs are accounted for, 1 an error of ours (or failures with --strict), 2 wrong usage, 130 stopped
by Ctrl-C or SIGTERM, after committing what is whole.
"""

import sys
from collections.abc import Sequence

from embeddings_dagster.errors import EmbeddingsError, Stopped

STOPPED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments` (default: the process's own); always ends in SystemExit."""
    from embeddings_dagster.cli.app import app
    from embeddings_dagster.cli.terminal import note, show_anything

    show_anything()
    try:
        app(args=arguments, prog_name="embeddings")
    except Stopped as stopped:
        note(str(stopped), style="yellow")
        sys.exit(STOPPED)
    except EmbeddingsError as error:
        for line in str(error).splitlines():
            note(f"error: {line}", style="red")
        sys.exit(1)
