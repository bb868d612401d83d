"""CLIP and its kin, and DINOv2: a preprocessor, a backend that computes, and a text side where there is one."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from embeddings_dagster.encoders.base import Backend, Pixels, Prepared, Unit, Vectors
from embeddings_dagster.encoders.gate import Gate
from embeddings_dagster.encoders.preprocess import Preprocessor
from embeddings_dagster.encoders.text_side import TextSide
from embeddings_dagster.encoders.unit_length import unit_length
from embeddings_dagster.errors import ModelError
from embeddings_dagster.images.regions import crop


class NetworkEncoder:
    """An encoder of single regions. `text` loads the text side, when it is first needed; None: there is none."""

    whole_image = False
    max_regions = None
    normalised = True

    def __init__(
        self,
        name: str,
        preprocessor: Preprocessor,
        backend: Backend,
        *,
        dimension: int,
        text: Callable[[], TextSide] | None = None,
    ) -> None:
        self.name = name
        self.dimension = dimension
        self.image_size = preprocessor.size
        self.enough = preprocessor.enough
        self.device, self.precision, self.streams = backend.device, backend.precision, backend.streams
        self.has_text = text is not None
        self.gate: Gate | None = None
        self._preprocess = preprocessor
        self._backend: Backend | None = backend
        self._load_text = text
        self._text: TextSide | None = None
        self._text_lock = threading.Lock()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._backend is None

    def prepare(self, image: Image.Image, unit: Unit) -> Pixels:
        """See `Encoder.prepare`."""
        pictures = [self._preprocess(crop(image, region.box)) for region in unit.regions]
        pixels: Pixels = np.stack(pictures)  # type: ignore[assignment]  # all of one kind, which numpy does not tell
        return pixels

    def begin_stream(self) -> None:
        """See `Encoder.begin_stream`."""
        self._open().begin_stream()

    def encode(self, images: Sequence[Prepared], batch_size: int) -> Vectors:
        """See `Encoder.encode`."""
        backend = self._open()
        pixels = images[0].pixels if len(images) == 1 else np.concatenate([each.pixels for each in images])
        out = np.empty((len(pixels), self.dimension), dtype=np.float32)
        for start in range(0, len(pixels), batch_size):
            out[start : start + batch_size] = unit_length(backend.features(pixels[start : start + batch_size]))
        return out

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder.encode_text`."""
        return self._text_side().encode(texts)

    def encode_long_text(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder.encode_long_text`."""
        return self._text_side().encode_long(texts)

    def close(self) -> None:
        """See `Encoder.close`."""
        if self.gate is not None:
            self.gate.close()
        backend, self._backend, self._text, self._load_text = self._backend, None, None, None
        if backend is not None:
            backend.close()

    def _open(self) -> Backend:
        if self._backend is None:
            raise ModelError(f"the model {self.name!r} has been closed; load it again")
        return self._backend

    def _text_side(self) -> TextSide:
        self._open()
        if not self.has_text:
            raise ModelError(f"the model {self.name!r} knows pictures only, no text; ask a model of kind clip")
        with self._text_lock:
            if self._text is None:
                load = self._load_text
                if load is None:
                    raise ModelError(f"the model {self.name!r} has been closed; load it again")
                text = load()
                self._open()  # it may have been closed meanwhile
                self._text = text
            return self._text
