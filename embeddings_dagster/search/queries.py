"""What may be asked, and how a question is checked before any model is loaded."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embeddings_dagster.errors import BadQuery, ReadFailed, TooManyBytes
from embeddings_dagster.ids import escape_local_id

MAX_HITS = 10_000
SHOWN = 80  # characters of a text in messages


@dataclass(frozen=True)
class TextQuery:
    """Images that fit these words."""

    text: str

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= SHOWN else f"{self.text[:SHOWN]}…"
        return f"text {shown!r}"


@dataclass(frozen=True)
class ImageQuery:
    """Images that look like this picture: a file, or its bytes."""

    image: Path | bytes

    def __str__(self) -> str:
        return f"picture of {len(self.image):,} bytes" if isinstance(self.image, bytes) else f"picture {self.image}"

    def read(self, cap: int) -> bytes:
        """The picture's bytes.

        Raises:
            ReadFailed: the file cannot be read.
            TooManyBytes: it has more than `cap` bytes.
        """
        if isinstance(self.image, bytes):
            return self.image
        try:
            # Without O_NONBLOCK, opening a pipe would wait for ever.
            handle = os.open(self.image, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
            try:
                with open(handle, "rb", closefd=False) as file:  # a folder's handle would stay open
                    if not stat.S_ISREG(os.fstat(handle).st_mode):
                        raise ReadFailed(f"{self.image} is not a regular file; give the path of a picture")
                    data = file.read(cap + 1)
            finally:
                os.close(handle)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or str(error)
            raise ReadFailed(f"{self.image} cannot be read ({reason}); correct the path or its permissions") from error
        if len(data) > cap:
            raise TooManyBytes(f"{self.image} has more than rgb.max_bytes = {cap:,} bytes; raise it to search with it")
        return data


@dataclass(frozen=True)
class IdQuery:
    """Images that look like one in the index, or like a region of it; that image is left out."""

    image_id: str
    region: int = 0

    def __str__(self) -> str:
        return f"image {self.image_id}" + (f" region {self.region}" if self.region else "")


@dataclass(frozen=True, eq=False)
class VectorQuery:
    """Rows near a vector of a model's own space; `model` may be left out where only one is asked."""

    vector: npt.NDArray[np.float32]
    model: str | None = None

    def __str__(self) -> str:
        return f"vector of {self.vector.size} components"


Query = TextQuery | ImageQuery | IdQuery | VectorQuery


def checked(query: Query) -> Query:
    """A query as it is asked: a text without the spaces around it, a vector as float32.

    Raises:
        BadQuery: it is nothing that can be searched for.
    """
    if isinstance(query, TextQuery):
        return TextQuery(_text(query.text))
    if isinstance(query, ImageQuery):
        return query if isinstance(query.image, bytes) else ImageQuery(_expanded(Path(query.image)))
    if isinstance(query, IdQuery):
        return IdQuery(_image_id(query.image_id), query.region)
    return VectorQuery(_vector(query.vector), query.model)


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # nobody is called so: it is the name of a file, such as `~draft.png`
        return path


def _text(text: str) -> str:
    if not text.strip():
        raise BadQuery("the text is empty; say what to look for")
    if not _is_unicode(text):
        raise BadQuery("the text is not valid UTF-8; check the encoding of the terminal or the file it comes from")
    return text.strip()


def _image_id(image_id: str) -> str:
    """An id; bytes of a file's name that came undecoded are written as ids write them."""
    if not image_id.strip():
        raise BadQuery("the image id is empty; `embeddings catalog` lists what there is")
    if _is_unicode(image_id):
        return image_id
    return "".join(each if _is_unicode(each) else escape_local_id(each) for each in image_id)


def _is_unicode(text: str) -> bool:
    """Whether no byte of it came from the command line undecoded, as a lone surrogate."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _vector(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            vector = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise BadQuery(f"the vector is not a list of numbers ({error})") from error
    if not np.isfinite(vector).all():
        raise BadQuery("the vector to search for holds NaN or infinity")
    if not vector.any():
        raise BadQuery("the vector to search for is all zeros, and so points nowhere")
    return vector


def check_hits(k: int) -> int:
    """`k`, if that many hits may be asked for.

    Raises:
        BadQuery: it is not a whole number from 1 to `MAX_HITS`.
    """
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_HITS:
        raise BadQuery(f"k = {k!r} hits cannot be asked for; choose a whole number from 1 to {MAX_HITS:,}")
    return k
