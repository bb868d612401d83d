"""The command `embeddings`: every error of ours is one line on stderr and an exit code, never a traceback.

Exit codes: 0 all inputs are accounted for, 1 an error of ours (or failures with --strict), 2 wrong usage, 130 stopped
by Ctrl-C, SIGTERM or a terminal that was closed, after committing what is whole. A second signal ends it at once, with
128 and the signal's number.
"""

import sys
from collections.abc import Sequence

from embeddings_dagster.defs.signals import Interrupted, listening
from embeddings_dagster.errors import Stopped, told

STOPPED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments` (default: the process's own); always ends in SystemExit."""
    from embeddings_dagster.cli.terminal import note, show_anything

    show_anything()
    try:
        with listening():  # to load the command takes half a second, in which one may well think better of it
            from embeddings_dagster.cli.app import app

            app(args=arguments, prog_name="embeddings")
    except Interrupted:
        note("stopped on request; what was committed is whole", style="yellow")
        sys.exit(STOPPED)
    except Stopped as stopped:
        note(str(stopped), style="yellow")
        sys.exit(STOPPED)
    except Exception as error:
        said = told(error)
        if said is None:
            raise
        for line in said.splitlines():
            note(f"error: {line}", style="red")
        sys.exit(1)
