"""What a batch looks like from outside, so that one that looks as it did need not be read again."""

import hashlib
import os
from collections.abc import Iterable

# A file written twice within one tick of a disk's clock looks the same after both: what is younger gets no mark.
YOUNG_SECONDS = 2


def mark(states: Iterable[os.stat_result | None], now: float) -> str | None:
    """The mark of a batch by the states of its file, its folder and its pictures' folder; None: too young for one."""
    known = list(states)
    if any(state and now - state.st_mtime < YOUNG_SECONDS for state in known):
        return None
    seen = [state and (state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino) for state in known]
    return hashlib.blake2b(repr(seen).encode(), digest_size=12).hexdigest()
