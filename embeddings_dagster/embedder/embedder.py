"""Several models at one picture: it is read and decoded once, and each gives its vectors.

Async for real: models are loaded, pictures read, decoded and encoded in threads, never on the event loop, and what is
asked for at the same time is encoded together. One embedder serves any number of event loops and threads.
"""

import asyncio
import operator
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from embeddings_dagster.embedder.line import Line
from embeddings_dagster.embedder.models import CLOSED, Models, choose
from embeddings_dagster.embedder.pictures import Pictures, Source, boxes_of
from embeddings_dagster.embedder.progress import progress_bar
from embeddings_dagster.embedder.results import Embedded, Vector
from embeddings_dagster.embedder.streaming import in_order
from embeddings_dagster.errors import ModelError
from embeddings_dagster.images import DecodeRules

if TYPE_CHECKING:
    from embeddings_dagster.settings_models import ModelSettings

THREADS = 2  # that decode; more do not help where decoding is not what takes the time
Several = TypeVar("Several")

MOST = 4096  # pictures in a batch, whatever the model could take


class Embedder:
    """Vectors of pictures, and of texts where a model reads them. A context manager, with `async with` too.

    Models are loaded by the first call that needs them, or by `load`. All methods may be called from any thread and
    any event loop. What is wrong with a picture is told in its answer; a `ModelError` is raised.
    """

    def __init__(
        self,
        models: "Mapping[str, str | ModelSettings]",
        device: str = "auto",
        *,
        revisions: Mapping[str, str] | None = None,
        precision: str = "fp32",
        batch_size: int | str = "auto",
        threads: int = THREADS,
        rules: DecodeRules | None = None,
    ) -> None:
        """`models` by the names that answers use: `bundled:clip`, a hub id (its commit in `revisions`) or a folder; or
        `ModelSettings`, which `precision` does not change. `device`: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        `threads` decode. `rules` say which pictures are refused, and what is seen through transparent ones.

        Raises:
            ModelError: one of these cannot be used.
        """
        if not models:
            raise ModelError("an embedder without a model has nothing to do; name one, such as bundled:clip")
        options = {"precision": precision, "batch_size": batch_size, "threads": threads, "device": device}
        commits = revisions or {}
        chosen = {name: choose(model, revision=commits.get(name), **options) for name, model in models.items()}
        guessed = frozenset(name for name, model in models.items() if isinstance(model, str))
        self._models = Models(chosen, guessed, device)
        self._pictures = Pictures(rules or DecodeRules())
        self._line = Line(self._models, self._pictures, batch_size=batch_size, threads=threads)
        self._texts = ThreadPoolExecutor(1, thread_name_prefix="embedder-texts")
        self._closing = threading.Lock()
        self._closed = False

    async def load(self) -> None:
        """Load the models now rather than at the first picture.

        Raises:
            ModelError: one cannot be had or loaded.
        """
        await asyncio.get_running_loop().run_in_executor(self._texts_thread(), self._models.encoders)

    async def embed(self, source: Source, boxes: Sequence[Sequence[int] | None] | None = None) -> Embedded:
        """The vectors of a picture, or of parts of it: boxes `(x, y, width, height)`, and None for the whole.

        Raises:
            FileNotFoundError: `source` is a path at which there is nothing.
            TypeError: `source` is nothing that could be a picture, or a box is none.
            ModelError: a model cannot be loaded, or failed.
        """
        embedded = await asyncio.wrap_future(self._line.submit(source, boxes_of(boxes), MOST))
        for failure in embedded.failures:
            if isinstance(failure.error, (FileNotFoundError, TypeError)):
                raise failure.error
        return embedded

    async def stream(
        self, sources: Iterable[Source] | AsyncIterable[Source], *, batch_size: int | None = None
    ) -> AsyncGenerator[Embedded, None]:
        """Answers for pictures as they come, in order, before the last has come; only a few are held at once.

        `sources` that are not async are read in a thread. `batch_size`: pictures that a model gets at once, at most.

        Raises:
            ModelError: a model cannot be loaded, or failed.
        """
        most = _most(batch_size)
        boxes = boxes_of(None)
        line = self._line
        answers = in_order(_several(sources), lambda each: line.submit(each, boxes, most), lambda: line.ahead(most))
        async with aclosing(answers):
            async for embedded in answers:
                yield embedded

    async def embed_batch(
        self, sources: Sequence[Source], *, batch_size: int | None = None, show_progress: bool = False
    ) -> list[Embedded]:
        """An answer for each of `sources`, in order; with a progress bar, if wanted, where there is a terminal.

        Raises:
            ModelError: a model cannot be loaded, or failed.
        """
        given = list(_several(sources))
        answers: list[Embedded] = []
        stream = self.stream(given, batch_size=batch_size)
        with progress_bar(len(given), shown=show_progress) as advance:
            async with aclosing(stream):
                async for embedded in stream:
                    answers.append(embedded)
                    advance()
        return answers

    def encode_text(self, text: str | Sequence[str], model: str | None = None) -> Vector:
        """Vectors of norm 1: (D,) of a text, (n, D) of several; what is past the model's limit is cut off.

        `model`: whose vectors, if there is more than one. Without an event loop; see `embed_text`.

        Raises:
            TypeError: something is not a text.
            ModelError: the model reads no text, or cannot be loaded.
        """
        texts = [text] if isinstance(text, str) else list(text)
        for each in texts:
            if not isinstance(each, str):
                raise TypeError(f"{each!r} is not a text")
        vectors = self._models.reading_text(model).encode_text(texts)
        return vectors[0] if isinstance(text, str) else vectors

    async def embed_text(self, text: str | Sequence[str], model: str | None = None) -> Vector:
        """As `encode_text`, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._texts_thread(), self.encode_text, text, model)

    def get_embedding_dimension(self, model: str | None = None) -> int:
        """The length D of a model's vectors; the model need not be loaded for it.

        Raises:
            ModelError: it cannot be had, there is none of that name, or there are several and none is named.
        """
        return self._models.dimension(model)

    def close(self) -> None:
        """Free the models' memory, end all threads and processes; what was not answered yet fails. May be repeated."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._line.close()
                self._texts.shutdown()  # what is waiting there is done first: who awaits it was not cancelled
                self._models.close()
                self._pictures.close()

    async def aclose(self) -> None:
        """As `close`, off the event loop."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _texts_thread(self) -> ThreadPoolExecutor:
        if self._closed:
            raise ModelError(CLOSED)
        return self._texts


def _several(sources: Several) -> Several:
    """Raises:
    TypeError: it is one picture, whose letters or bytes would be taken for many.
    """
    if isinstance(sources, (str, bytes, bytearray, memoryview, os.PathLike)):
        raise TypeError(f"a list of pictures is wanted, not one {type(sources).__name__}")
    return sources


def _most(batch_size: int | None) -> int:
    if batch_size is None:
        return MOST
    size = operator.index(batch_size)
    if size < 1:
        raise ValueError(f"batch_size = {size} is less than 1")
    return size
