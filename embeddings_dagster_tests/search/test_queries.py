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
    make_query,
)


def test_one_thing_is_asked() -> None:
    assert make_query("  red heart ", None, None, None) == TextQuery("red heart")
    assert make_query(None, "a.png", None, None) == ImageQuery(Path("a.png"))
    assert make_query(None, b"bytes", None, None) == ImageQuery(b"bytes")
    assert make_query(None, None, "art:a", None) == IdQuery("art:a")
    query = make_query(None, None, None, [1, 2])
    assert isinstance(query, VectorQuery)
    assert query.vector.dtype == np.float32


def test_nothing_and_several_things_are_refused() -> None:
    with pytest.raises(BadQuery, match="0 things to search for were given; give one"):
        make_query(None, None, None, None)
    with pytest.raises(BadQuery, match="2 things"):
        make_query("text", None, "art:a", None)


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(BadQuery, match="the text is empty"):
        make_query(" \n", None, None, None)


def test_a_text_of_undecodable_bytes_is_refused() -> None:
    with pytest.raises(BadQuery, match="not valid UTF-8"):
        make_query("bad \udcff", None, None, None)


@pytest.mark.parametrize("values", [["a", "b"], [[1], [1, 2]], object()])
def test_a_vector_must_be_numbers(values: object) -> None:
    with pytest.raises(BadQuery, match="not a list of numbers"):
        make_query(None, None, None, values)  # type: ignore[arg-type]


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
    assert str(VectorQuery(np.zeros(3, np.float32))) == "vector of 3 components"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.png", tmp_path, Path("nul\0.png")):
        with pytest.raises(ReadFailed, match="cannot be read"):
            ImageQuery(path).read(100)


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
