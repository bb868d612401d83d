"""Web JSON: what JSON.parse and json.load make of it."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.exports import Wanted, export_json
from embeddings_dagster.exports.web_json import _lines
from embeddings_dagster_tests.exports.shelf import Shelf, names, read


def strictly(text: bytes) -> object:
    """JSON as browsers take it: no NaN, no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_it_is_an_array_of_vectors_and_a_description(shelf: Shelf) -> None:
    shelf.put("art:10.png", "art:9.png", "art:1.png", segments=2)
    report = export_json(shelf.context, Wanted(sources=("art",)), shelf.root / "web" / "art.json")
    assert names(report) == ["art.json", "art_metadata.json"]
    vectors = strictly((shelf.root / "web" / "art.json").read_bytes())
    wanted = [shelf.vector(f"art:{number}.png") for number in (1, 9, 10)]
    assert np.array_equal(np.array(vectors, np.float32), wanted), "to the bit"
    said = read(shelf.root / "web" / "art_metadata.json")
    assert (said["count"], said["dimensions"]) == (3, 8)
    assert said["description"] == (
        "8-dimensional vectors of bundled:clip, L2 norm 1, in natural order of ids; row i is the vector of ids[i]"
    )
    assert said["ids"] == ["1.png", "9.png", "10.png"]


def test_ids_that_rows_tell_are_left_out(shelf: Shelf) -> None:
    shelf.put("art:2", "art:1")
    export_json(shelf.context, None, shelf.root / "art.json")
    said = read(shelf.root / "art_metadata.json")
    assert "ids" not in said
    assert said["description"].endswith("row i is the vector of id i + 1")


def test_in_a_folder_it_is_named_after_its_model(shelf: Shelf) -> None:
    shelf.put("art:1")
    report = export_json(shelf.context, None, shelf.root / "web")
    assert names(report) == ["clip_embeddings.json", "clip_embeddings_metadata.json"]


def test_npy_and_json_of_one_name_lie_side_by_side(shelf: Shelf) -> None:
    from embeddings_dagster.exports import export_npy

    shelf.put("art:x", "art:y")
    for _ in range(2):
        export_npy(shelf.context, None, shelf.root / "art.npy")
        export_json(shelf.context, None, shelf.root / "art.json")
    assert sorted(path.name for path in shelf.root.glob("art*")) == [
        "art.json", "art.npy", "art_ids.json", "art_info.json", "art_metadata.json",
    ]  # fmt: skip


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_every_float32_reads_back_to_the_bit(values: list[float]) -> None:
    row = np.array([values], np.float32)
    (line,) = _lines(row)
    assert np.array_equal(np.array(strictly(line), np.float32), row[0])


@pytest.mark.parametrize("value", [1e-45, 3.4028235e38, 1 / 3, -1.17549435e-38, 0.1, 16777217.0])
def test_extreme_floats_read_back_to_the_bit(value: float) -> None:
    row = np.array([[value]], np.float32)
    assert np.array(strictly(_lines(row)[0]), np.float32) == row[0]
