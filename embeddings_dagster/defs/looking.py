"""Reading the sources again, one after the other: a source that cannot be read costs the others nothing, nor does one
that takes long.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from embeddings_dagster.defs.resources import Project
from embeddings_dagster.errors import Stopped
from embeddings_dagster.settings import FILE_NAME
from embeddings_dagster.stages.discover import Discovery, discover

TICK_SECONDS = 40.0  # Dagster gives a tick up after 60, and what it would have asked for is lost until the next
TOLD = 20  # problems of a source's records in one log: a tick's is kept by Dagster
PATIENCE = 15.0  # seconds that a tick waits for one source


@dataclass(frozen=True)
class Looked:
    """What each source said, and for those that could not be read, why. `outdated` ones are not what the settings file
    has any more."""

    found: dict[str, Discovery] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    outdated: set[str] = field(default_factory=set)


def look(
    project: Project,
    run_id: str,
    log: Callable[[str], None],
    *,
    sources: Iterable[str],
    wait_unless: threading.Event | None = None,
    full: bool = True,
) -> Looked:
    """Bring the ledgers up to date. The second look at new files is waited for until `wait_unless` is set; without it,
    only where a source has batches of its own, and else left to the next call. Unless `full`, batches that look as they
    are remembered may be left alone."""
    looked = Looked()
    stage = project.stage_context(run_id, log, wait_unless or threading.Event())
    for name in sources:
        try:
            found = discover(stage, name, wait=True if wait_unless is not None else None, full=full)
            looked.found[name] = found
            for line in passed_over(found):
                log(line)
        except Stopped:
            raise
        except Exception as error:  # whatever it is: it is this source's, and named
            looked.problems[name] = f"source {name}: {type(error).__name__}: {error}"
            log(looked.problems[name])
    return looked


def passed_over(found: Discovery) -> list[str]:
    """What a source's owner should know of: records that were not taken, or not as they stand."""
    lines = [f"source {found.source}: {each.location}: {each.reason}" for each in found.problems[:TOLD]]
    more = len(found.problems) - len(lines)
    return lines + ([f"source {found.source}: {more:,} more; `embeddings plan` tells them all"] if more else [])


@dataclass
class _UnderWay:
    """A look at one source, in a thread of its own. `lines`: what it had to say."""

    thread: threading.Thread
    began: float
    lines: list[str]
    looked: Looked = field(default_factory=Looked)


class Looker:
    """Looks for a sensor or a schedule, in its process. A source is waited for as long as a tick can afford; after that
    the look goes on by itself, commits what it finds, and a later tick takes it up. So a disk that answers in minutes
    makes its own batches late, and no others.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._looks: dict[str, _UnderWay] = {}
        self._lock = threading.Lock()

    def look(self, run_id: str, log: Callable[[str], None], sources: Iterable[str], *, full: bool) -> Looked:
        """As the function `look`, at most `TICK_SECONDS` long. A look that an earlier call began counts as this one."""
        end = time.monotonic() + TICK_SECONDS
        looked = Looked(outdated=self._project.settings.outdated_sources())
        for name in sources:
            if name in looked.outdated:
                looked.problems[name] = (
                    f"source {name}: it is not as Dagster read it in {FILE_NAME} any more; reload the code location"
                )
                continue
            patience = min(PATIENCE, end - time.monotonic())
            with self._lock:
                began_before = name in self._looks
                if not began_before and patience > 0:
                    self._looks[name] = self._begin(name, run_id, full=full)
                look = self._looks.get(name)
            if look is None:
                looked.problems[name] = f"source {name}: the others took this tick's time; it is looked at in the next"
                continue
            look.thread.join(0 if began_before else patience)
            if look.thread.is_alive():
                seconds = time.monotonic() - look.began
                looked.problems[name] = (
                    f"source {name}: reading it takes long, {seconds:.0f} seconds until now; what it has is taken when "
                    "that is done"
                )
            else:
                with self._lock:
                    self._looks.pop(name, None)
                looked.found.update(look.looked.found)
                looked.problems.update(look.looked.problems)
                for line in look.lines:
                    log(line)
        return looked

    def _begin(self, name: str, run_id: str, *, full: bool) -> _UnderWay:
        lines: list[str] = []

        def work() -> None:
            found = look(self._project, run_id, lines.append, sources=[name], full=full)
            begun.looked.found.update(found.found)
            begun.looked.problems.update(found.problems)

        begun = _UnderWay(threading.Thread(target=work, name=f"look at {name}", daemon=True), time.monotonic(), lines)
        begun.thread.start()
        return begun
