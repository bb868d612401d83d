"""What can be asked is checked before any model is loaded."""

import os
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.errors import BadQuery, ReadFailed, TooManyBytes
from embeddings_dagster.search.queries import (
    IdQuery,
    ImageQuery,
    TextQuery,
    VectorQuery,
    check_hits,
    checked,
)


def test_a_query_is_asked_in_its_plainest_form() -> None:
    assert checked(TextQuery("  red heart ")) == TextQuery("red heart")
    assert checked(ImageQuery(Path("a.png"))) == ImageQuery(Path("a.png"))
    assert checked(ImageQuery(b"bytes")) == ImageQuery(b"bytes")
    assert checked(IdQuery("art:a", 2)) == IdQuery("art:a", 2)
    assert checked(IdQuery("caf\udce9.png")) == IdQuery("caf%E9.png"), "as ids write what is not UTF-8"
    query = checked(VectorQuery([1, 2], "clip"))  # type: ignore[arg-type]
    assert isinstance(query, VectorQuery)
    assert (query.vector.dtype, query.model) == (np.float32, "clip")


@pytest.mark.parametrize("text", ["", " \n"])
def test_what_is_empty_is_refused(text: str) -> None:
    with pytest.raises(BadQuery, match="the text is empty"):
        checked(TextQuery(text))
    with pytest.raises(BadQuery, match="the image id is empty"):
        checked(IdQuery(text))


def test_a_text_of_undecodable_bytes_is_refused() -> None:
    with pytest.raises(BadQuery, match="not valid UTF-8"):
        checked(TextQuery("bad \udcff"))


@pytest.mark.parametrize("values", [["a", "b"], [[1], [1, 2]], object()])
def test_a_vector_must_be_numbers(values: object) -> None:
    with pytest.raises(BadQuery, match="not a list of numbers"):
        checked(VectorQuery(values))  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [[1, np.nan], [np.inf, 0], [1e300, 0]])
def test_a_vector_must_be_finite(values: list[float]) -> None:
    with pytest.raises(BadQuery, match="NaN or infinity"):
        checked(VectorQuery(values))  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [[], [0, 0]])
def test_a_vector_must_point_somewhere(values: list[float]) -> None:
    with pytest.raises(BadQuery, match="all zeros"):
        checked(VectorQuery(values))  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [0, -1, 10_001, 2.0, True, "3", None])
def test_a_number_of_hits_out_of_range_is_refused(k: object) -> None:
    with pytest.raises(BadQuery, match="choose a whole number from 1 to 10,000"):
        check_hits(k)  # type: ignore[arg-type]


def test_queries_describe_themselves() -> None:
    assert str(TextQuery("red heart")) == "text 'red heart'"
    assert str(TextQuery("x" * 1000)) == f"text '{'x' * 80}…'"
    assert str(ImageQuery(b"12345")) == "picture of 5 bytes"
    assert str(ImageQuery(Path("a.png"))) == "picture a.png"
    assert str(IdQuery("art:a")) == "image art:a"
    assert str(IdQuery("art:a", 3)) == "image art:a region 3"
    assert str(VectorQuery(np.zeros(3, np.float32))) == "vector of 3 components"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.png", tmp_path, Path("nul\0.png")):
        with pytest.raises(ReadFailed, match="cannot be read"):
            ImageQuery(path).read(100)


def test_a_folder_that_is_refused_is_let_go(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd") if Path("/proc/self/fd").is_dir() else []
    for _ in range(3):
        with pytest.raises(ReadFailed, match="Is a directory"):
            ImageQuery(tmp_path).read(100)
    assert not before or len(os.listdir("/proc/self/fd")) == len(before)


def test_a_file_may_be_called_like_the_home_of_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~draft.png").write_bytes(b"picture")
    query = checked(ImageQuery(Path("~draft.png")))
    assert isinstance(query, ImageQuery)
    assert query.read(100) == b"picture"
    assert checked(ImageQuery(Path("~/a.png"))) == ImageQuery(Path.home() / "a.png")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ReadFailed, match="not a regular file"):
        ImageQuery(tmp_path / "pipe.png").read(100)


def test_a_file_beyond_the_cap_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(b"x" * 101)
    with pytest.raises(TooManyBytes, match=r"large\.png has more than rgb\.max_bytes = 100 bytes"):
        ImageQuery(path).read(100)
    assert len(ImageQuery(path).read(101)) == 101
