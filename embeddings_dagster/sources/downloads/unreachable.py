"""Hosts that cannot be reached. A catalogue may name ten thousand pictures of a shop that is closed: to wait out the
timeouts of each would take days, so after a few the others fail at once, for a while."""

import threading
import time

from embeddings_dagster.errors import DownloadFailed
from embeddings_dagster.sources.downloads.failure import Failure

_PICTURES_IN_A_ROW = 3
_SECONDS = 60.0


class Unreachable:
    """Which hosts (with their ports) could not be connected to for some pictures in a row, retries and all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._missed: dict[str, tuple[int, float]] = {}

    def check(self, host: str, shown: str) -> None:
        """
        Raises:
            Failure: there is no sense in trying now.
        """
        missed, last = self._missed.get(host, (0, 0.0))
        if missed >= _PICTURES_IN_A_ROW and time.monotonic() < last + _SECONDS:
            message = f"{shown}: not asked for, its host {host} could not be reached {missed} times; run again later"
            raise Failure(DownloadFailed, "transfer", message)

    def note(self, host: str, *, reached: bool) -> None:
        with self._lock:
            if reached:
                self._missed.pop(host, None)
            else:
                self._missed[host] = (self._missed.get(host, (0, 0.0))[0] + 1, time.monotonic())
