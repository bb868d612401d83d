"""What every refresh of something made from all batches does: one at a time, planned again when it lost a commit race,
from a derived state that is made anew when it is not that of the generation in force.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from embeddings_dagster.errors import CommitConflict, CountsDoNotReconcile
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.held import held
from embeddings_dagster.stages.index_inputs import Inputs
from embeddings_dagster.stages.index_plan import BatchChanges
from embeddings_dagster.stages.index_state import IndexState

RACES = 5  # lost commit races before giving up, as for batches

Report = TypeVar("Report")


def refreshed(context: StageContext, folder: str, state: Path, attempt: Callable[[], Report]) -> Report:
    """Attempt until the commit is ours; `folder` names the lock, `state` is the file of the derived state.

    Raises:
        Stopped: a stop was asked for; what is committed is as it was.
        CommitConflict: other writers won every race.
        CountsDoNotReconcile: rows were lost, and not by a derived state that was wrong.
    """
    remade = not state.exists()
    with held(context, folder):
        for race in range(RACES):
            try:
                return attempt()
            except CommitConflict as conflict:
                if race == RACES - 1:
                    raise
                context.log(f"{conflict}; planning again")
            except CountsDoNotReconcile as error:
                if remade:
                    raise
                context.log(f"{error}. Looking whether {state} is at fault: it is derived, and made again")
                state.unlink(missing_ok=True)
                remade = True
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError) or race == RACES - 1:
                    raise
                context.log(f"{state} is damaged ({error}); it is derived, and made again")
                state.unlink(missing_ok=True)
    raise AssertionError("unreachable")


def take_in(
    context: StageContext,
    state: IndexState,
    inputs: Inputs,
    changes: BatchChanges,
    *,
    mark: str | None,
    restore: Callable[[], None],
    take: Callable[[str], None],
) -> int:
    """Bring the state's offers up to date, and touch all images of which anything differs.

    `mark` is that of the generation to begin from (None: from nothing), `restore` reads what that one has placed,
    `take` reads the offers of a batch. Returns how many batches were read.
    """
    read = changes.read
    if mark is None or not state.matches(mark):
        state.clear()
        read = frozenset(inputs.states)
        if mark is not None:
            restore()
    for batch in changes.gone:
        state.offer(batch, ())
    for batch in sorted(read):
        context.check_stop()
        take(batch)
    for batch in changes.reordered:
        state.touch_batch(batch)
    return len(read)
