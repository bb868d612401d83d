"""Reading the sources again, one after the other: a source that cannot be read costs the others nothing."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from embeddings_dagster.defs.resources import Project
from embeddings_dagster.errors import EmbeddingsError, Stopped
from embeddings_dagster.stages.discover import Discovery, discover


@dataclass(frozen=True)
class Looked:
    """What each source said, and for those that could not be read, why."""

    found: dict[str, Discovery] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def look(
    project: Project,
    run_id: str,
    log: Callable[[str], None],
    *,
    sources: Iterable[str],
    wait_unless: threading.Event | None = None,
) -> Looked:
    """Bring the ledgers up to date. The second look at new files is left to the next call, or waited for until
    `wait_unless` is set."""
    looked = Looked()
    stage = project.stage_context(run_id, log, wait_unless or threading.Event())
    for name in sources:
        try:
            looked.found[name] = discover(stage, name, wait=wait_unless is not None)
        except Stopped:
            raise
        except (EmbeddingsError, OSError) as error:
            looked.problems[name] = f"source {name}: {type(error).__name__}: {error}"
            log(looked.problems[name])
    return looked
