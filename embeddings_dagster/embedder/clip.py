"""One model and plain vectors: a float32 array for a picture, or None where there is none to be had."""

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import aclosing

import numpy.typing as npt

from embeddings_dagster.embedder.embedder import THREADS, Embedder
from embeddings_dagster.embedder.pictures import Source
from embeddings_dagster.embedder.results import Embedded, Failure, Vector
from embeddings_dagster.embedder.similarity import compute_similarity
from embeddings_dagster.images import DecodeRules

MODEL = "clip"

OnFailure = Callable[[Failure], None]

_log = logging.getLogger(__name__)


class CLIPEmbedder(Embedder):
    """The vectors of a CLIP, or of another model by its name, in its own space: float32 (D,) of norm 1.

    Where a vector is None, `on_failure` is told why, else a warning is logged. See `Embedder` for all the rest.
    """

    def __init__(
        self,
        model_name: str = "openai/clip-vit-base-patch32",
        device: str = "auto",
        *,
        revision: str | None = None,
        precision: str = "fp32",
        batch_size: int | str = "auto",
        threads: int = THREADS,
        rules: DecodeRules | None = None,
    ) -> None:
        """`model_name`: `bundled:clip`, a hub id (its commit in `revision`) or a folder, written with a leading `./` or
        `/`. Where there is no such `device` as `cuda` the CPU is used, with a warning. The others as for `Embedder`.

        Raises:
            ModelError: one of these cannot be used.
        """
        super().__init__(
            {MODEL: model_name},
            device,
            revisions={MODEL: revision} if revision is not None else None,
            precision=precision,
            batch_size=batch_size,
            threads=threads,
            rules=rules,
        )

    async def generate_embedding(self, source: Source, *, on_failure: OnFailure | None = None) -> Vector | None:
        """The vector of a picture; None where it cannot be read.

        Raises:
            FileNotFoundError: `source` is a path at which there is nothing.
            TypeError: `source` is nothing that could be a picture.
            ModelError: the model cannot be loaded, or failed.
        """
        return _vectors(await self.embed(source), on_failure)[0]

    async def generate_region_embeddings(
        self, source: Source, boxes: Sequence[Sequence[int] | None], *, on_failure: OnFailure | None = None
    ) -> list[Vector | None]:
        """A vector for each box `(x, y, width, height)` in pixels of the upright picture, and for None, the whole;
        None where a box lies outside of it. Raises as `generate_embedding`.
        """
        return _vectors(await self.embed(source, boxes), on_failure)

    async def generate_embeddings_batch(
        self,
        sources: Sequence[Source],
        batch_size: int = 32,
        show_progress: bool = True,
        *,
        on_failure: OnFailure | None = None,
    ) -> list[Vector | None]:
        """A vector for each picture, in the same order; None for what is missing or cannot be read.

        `batch_size`: pictures that the model gets at once, at most. Progress is shown on a terminal only.

        Raises:
            ModelError: the model cannot be loaded, or failed.
        """
        answers = await self.embed_batch(sources, batch_size=batch_size, show_progress=show_progress)
        return [_vectors(embedded, on_failure)[0] for embedded in answers]

    async def stream_embeddings(
        self,
        sources: Iterable[Source] | AsyncIterable[Source],
        *,
        batch_size: int | None = None,
        on_failure: OnFailure | None = None,
    ) -> AsyncGenerator[Vector | None, None]:
        """As `generate_embeddings_batch`, for pictures as they come; see `Embedder.stream`."""
        answers = self.stream(sources, batch_size=batch_size)
        async with aclosing(answers):
            async for embedded in answers:
                yield _vectors(embedded, on_failure)[0]

    def compute_similarity(self, a: npt.ArrayLike, b: npt.ArrayLike) -> float:
        """See the function of that name."""
        return compute_similarity(a, b)


def _vectors(embedded: Embedded, on_failure: OnFailure | None) -> list[Vector | None]:
    for failure in embedded.failures:
        if on_failure is not None:
            on_failure(failure)
        else:
            _log.warning("no vector of %s", failure)
    return list(embedded.vectors[MODEL])
