"""The model at work, watched from outside: how many pictures it got each time, and held up until a test lets it go."""

import threading
from types import TracebackType
from typing import Any, Self

PATIENCE = 60  # seconds: more than any machine needs, so that what hangs fails


class Forwards:
    """`sizes`: pictures in each pass through a vision model. While `go` is clear, each pass waits at its start."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.begun = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def __enter__(self) -> Self:
        from torch.nn.modules import module

        self._hook = module.register_module_forward_pre_hook(self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go.set()
        self._hook.remove()

    def _look(self, part: Any, given: tuple[Any, ...]) -> None:
        if type(part).__name__ in ("CLIPVisionEmbeddings", "Dinov2Embeddings"):
            self.sizes.append(len(given[0]))
            self.begun.set()
            assert self.go.wait(PATIENCE), "nobody let the model go on: the event loop is held up"
