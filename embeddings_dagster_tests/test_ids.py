"""Identity: every name has one id, every id leads back to its name."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster import ids

file_names = st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw).map(os.fsdecode)


@given(file_names)
def test_an_escaped_name_leads_back_to_the_very_bytes(name: str) -> None:
    assert os.fsencode(ids.unescape_local_id(ids.escape_local_id(name))) == os.fsencode(name)


@given(file_names, file_names)
def test_two_names_never_share_an_id(one: str, other: str) -> None:
    assert (ids.escape_local_id(one) == ids.escape_local_id(other)) == (one == other)


@given(file_names)
def test_a_local_id_is_printable_utf8_without_the_ordinal_sign(name: str) -> None:
    local = ids.escape_local_id(name)
    local.encode("utf-8")
    assert "#" not in local
    assert not any(ord(each) < 0x20 or 0x7F <= ord(each) <= 0x9F for each in local)


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("a/b.png", "a/b.png"),
        ("50%.png", "50%25.png"),
        ("#1.png", "%231.png"),
        ("new\nline.png", "new%0Aline.png"),
        ("caf\u00e9 \u2764.png", "caf\u00e9 \u2764.png"),
        ("nel\u0085.png", "nel%C2%85.png"),
        (os.fsdecode(b"latin-\xe9.png"), "latin-%E9.png"),
    ],
)
def test_local_ids_as_written(name: str, local: str) -> None:
    assert ids.escape_local_id(name) == local


def test_ordinals_count_from_zero_and_zero_is_not_written() -> None:
    assert ids.image_id("shop", "p1") == "shop:p1"
    assert ids.image_id("shop", "p1", 2) == "shop:p1#2"
    assert ids.parse_image_id("shop:p1#2") == ("shop", "p1", 2)
    assert ids.parse_image_id("shop:a:b") == ("shop", "a:b", 0)


@pytest.mark.parametrize("text", ["", "nocolon", ":x", "shop:", "Shop:x", "shop:x#", "shop:x#y"])
def test_what_is_not_an_image_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an image id"):
        ids.parse_image_id(text)


@pytest.mark.parametrize("key", ["photos__000001", "a-1__20240101_120000.x"])
def test_batch_keys(key: str) -> None:
    assert ids.is_batch_key(key)


@pytest.mark.parametrize(
    "key",
    ["photos", "photos__", "__1", "Photos__1", "photos__a...b", "photos__a/b", "photos__a b", "photos__é", "../x__1"],
)
def test_what_is_not_a_batch_key(key: str) -> None:
    assert not ids.is_batch_key(key)


def test_a_batch_key_that_dagster_would_read_as_a_range_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a batch key"):
        ids.batch_key("photos", "1...5")


def test_the_source_of_a_key_and_of_an_id() -> None:
    assert ids.source_of("photos__000001__x") == "photos"
    assert ids.source_of("photos:a__b.png") == "photos"


def test_natural_order() -> None:
    names = ["10.png", "2.png", "a10b", "a2b", "1.png"]
    assert sorted(names, key=ids.natural_key) == ["1.png", "2.png", "10.png", "a2b", "a10b"]


@given(st.lists(st.text(st.sampled_from("019ab.٣\n"), max_size=8), max_size=8))
def test_natural_order_compares_number_by_number_and_text_by_text(names: list[str]) -> None:
    def slowly(name: str) -> list[tuple[int, int, str]]:
        pieces = [piece for piece in re.split("([0-9]+)", name) if piece]
        return [(0, int(piece), "") if piece[0] in "0123456789" else (1, 0, piece) for piece in pieces]

    assert sorted(names, key=ids.natural_key) == sorted(names, key=slowly)


def test_natural_order_knows_numbers_of_any_length() -> None:
    names = ["9" * 5000, "1" + "0" * 5000, "007", "8", "0"]
    assert sorted(names, key=ids.natural_key) == ["0", "007", "8", "9" * 5000, "1" + "0" * 5000]
