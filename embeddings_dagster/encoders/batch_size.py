"""How many pictures go through a model at once: a number, or one that grows while that makes the model faster."""

import threading

START = 8
MOST_ON_CPU = 64
MOST_ON_GPU = 1024
GROWTH = 1.05  # how much faster twice the batch has to be, for what it costs in memory
TRIES = 3  # of each size, of which the best counts: the first is slow, and others may be held up by what else runs


class BatchSize:
    """The size in force. Several threads may ask and report; once memory was short it never grows again."""

    def __init__(self, start: int, most: int) -> None:
        """Start with `start` pictures, at least 1, and go up to `most`; with `start` equal to `most` it is fixed."""
        self._current, self._most = start, most
        self._growing = start < most
        self._rates: list[float] = []  # pictures per second at the current size
        self._former = 0.0  # the best rate at the size before
        self._lock = threading.Lock()

    @classmethod
    def of(cls, batch_size: int | str, *, device: str) -> "BatchSize":
        """What the settings say: a number of at least 1, or `auto`; a GPU takes larger batches than a CPU."""
        if isinstance(batch_size, int):
            return cls(batch_size, batch_size)
        return cls(START, MOST_ON_CPU if device == "cpu" else MOST_ON_GPU)

    @property
    def current(self) -> int:
        """The number of pictures to put into a batch now."""
        return self._current

    def measured(self, images: int, seconds: float) -> None:
        """Report that the model took `seconds` for a batch of `images`; one that was not full says nothing."""
        with self._lock:
            if not self._growing or images < self._current or seconds <= 0:
                return
            self._rates.append(images / seconds)
            if len(self._rates) == TRIES:
                self._judge(max(self._rates))

    def _judge(self, rate: float) -> None:
        """Go on to twice the size, or stay, or go back to the size before, which was as fast in half the memory."""
        self._rates = []
        if rate < self._former * GROWTH:
            self._current //= 2
            self._growing = False
        elif 2 * self._current > self._most:
            self._growing = False
        else:
            self._former = rate
            self._current *= 2

    def shrink(self, tried: int) -> bool:
        """Report that memory was short for batches of `tried`; whether a smaller one is worth trying.

        Several threads may fail at one size, and halve it once.
        """
        with self._lock:
            if tried <= 1:
                return False
            self._growing = False
            if self._current >= tried:
                self._current = tried // 2
            return True
