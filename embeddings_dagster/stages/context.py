"""What every stage is given: settings, the store, who is asking, and how to be told to stop."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from embeddings_dagster.errors import Stopped
from embeddings_dagster.settings import Settings
from embeddings_dagster.store import Store


def _silent(_: str) -> None:
    return None


@dataclass(frozen=True)
class StageContext:
    """One run's view of the project.

    `log` takes plain lines. `progress` is told (stage and batch, images done, images to do) as work proceeds.
    `retry_failed` tries recorded failures again, `force` makes every row anew, `heal` those
    that lie in damaged files, and no others. `download`: whether to fetch pictures
    that are not here; None: as the settings say.
    """

    settings: Settings
    store: Store
    run_id: str
    log: Callable[[str], None] = _silent
    progress: Callable[[str, int, int], None] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    retry_failed: bool = False
    force: bool = False
    heal: bool = False
    download: bool | None = None

    def check_stop(self) -> None:
        """Raises:
        Stopped: a stop was asked for.
        """
        if self.stop.is_set():
            raise Stopped("stopped on request; what was whole is committed, run again to go on")
