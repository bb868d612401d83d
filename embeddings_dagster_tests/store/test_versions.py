import hashlib
import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.errors import CommitConflict, CorruptFile, FormatTooNew, MissingFile
from embeddings_dagster.store import Store
from embeddings_dagster.store.files_local import LocalFiles
from embeddings_dagster.store.versions import Versions, seal, unseal
from embeddings_dagster_tests.store.places import Place

BODY = {"batch": "art__0001", "parts": [{"file": "parts/a.parquet", "rows": 3, "dead": [1]}], "recipe": "ré"}
MIDDLE = {**BODY, "previous": {"self_sha256": "0" * 64, "version": 1}, "version": 2}  # the seal is not the last line


def written(body: dict[str, object]) -> bytes:
    """The bytes of a committed document."""
    with tempfile.TemporaryDirectory() as folder:
        Versions(LocalFiles(Path(folder)), "manifests", "the thing").create(1, body)
        return (Path(folder) / "manifests/00000001.json").read_bytes()


def indented(body: dict[str, object]) -> bytes:
    """The bytes as earlier releases wrote them."""
    return json.dumps(seal_of_before(body), ensure_ascii=False, indent=1, sort_keys=True).encode()


def seal_of_before(body: dict[str, object]) -> dict[str, object]:
    document = {**body, "format_version": 1}
    text = json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True)
    return {**document, "self_sha256": hashlib.sha256(text.encode()).hexdigest()}


LAYOUTS = {
    "last": written(BODY),
    "middle": written(MIDDLE),
    "before": indented(BODY),
    "before, middle": indented(MIDDLE),
}
SEALED = LAYOUTS["last"]


@pytest.fixture
def versions(store: Store) -> Versions:
    return Versions(store.files, "manifests", "the thing")


def test_a_document_is_read_back_with_its_seal(versions: Versions) -> None:
    sealed = versions.create(1, BODY)
    assert versions.read(1) == sealed
    assert {**BODY, "format_version": 2, "self_sha256": sealed["self_sha256"]} == sealed


def test_versions_are_listed_in_order_and_strangers_are_not(versions: Versions, place: Place) -> None:
    for number in (1, 2, 10):
        versions.create(number, BODY)
    for name in ("notes.txt", "1.json", "00000003.json.bak", ".00000004.json.tmp"):
        place.write(f"manifests/{name}", b"")
    assert versions.numbers() == [1, 2, 10]
    assert versions.path(10) == "manifests/00000010.json"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_flipped_bit_of_a_document_is_an_error(layout: str) -> None:
    for bit in range(len(LAYOUTS[layout]) * 8):
        data = bytearray(LAYOUTS[layout])
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptFile, FormatTooNew), match=r"manifest\.json"):
            unseal(bytes(data), "manifest.json")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_byte_more_or_less_anywhere_is_an_error(layout: str) -> None:
    data = LAYOUTS[layout]
    for place in range(len(data)):
        for other in (
            data[:place] + data[place + 1 :],
            *(data[:place] + more + data[place:] for more in (b" ", b"\n")),
        ):
            with pytest.raises((CorruptFile, FormatTooNew)):
                unseal(other, "manifest.json")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_seal_that_stands_elsewhere_or_twice_is_an_error(layout: str) -> None:
    lines = LAYOUTS[layout].split(b"\n")
    (own,) = [
        number for number, line in enumerate(lines) if re.match(rb' ?"self_sha256"', line) and b"0" * 64 not in line
    ]
    rest = [*lines[:own], *lines[own + 1 :]]
    line = lines[own].rstrip(b",")
    for place in range(len(lines)):
        for comma in (b"", b","):
            moved = [*rest[:place], line + comma, *rest[place:]]
            if moved != lines:
                with pytest.raises(CorruptFile):
                    unseal(b"\n".join(moved), "manifest.json")
            with pytest.raises(CorruptFile):
                unseal(b"\n".join([*lines[:place], line + comma, *lines[place:]]), "manifest.json")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_seal_of_other_bytes_is_an_error(layout: str) -> None:
    other = hashlib.sha256(b"other").hexdigest().encode()
    (own,) = re.findall(rb'\n ?"self_sha256": "([1-9a-f][0-9a-f]*)"', LAYOUTS[layout])
    for wrong in (other, own.upper(), own[:-1], own + b"0"):
        with pytest.raises(CorruptFile):
            unseal(LAYOUTS[layout].replace(own, wrong), "manifest.json")


@pytest.mark.parametrize("body", [BODY, MIDDLE])
def test_a_document_of_an_earlier_release_is_read(body: dict[str, object]) -> None:
    assert unseal(indented(body), "manifest.json") == {**seal_of_before(body), "format_version": 2}


TEXTS = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("self_sha256"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_whatever_is_sealed_is_read_back(body: dict[str, object]) -> None:
    sealed = unseal(written(body), "manifest.json")
    assert sealed == seal(body)
    assert {name: value for name, value in sealed.items() if name != "self_sha256"} == {
        **{name: value for name, value in body.items() if name != "self_sha256"},
        "format_version": 2,
    }


def test_each_element_has_a_line_so_that_versions_can_be_compared_by_eye() -> None:
    text = written({"parts": [{"file": "a", "rows": [1]}, {"file": "b"}], "inputs": {"x": {"v": 1}}}).decode()
    assert text.splitlines()[:-2] == [
        "{",
        '"format_version": 2,',
        '"inputs": {',
        ' "x": {"v":1}',
        "},",
        '"parts": [',
        ' {"file":"a","rows":[1]},',
        ' {"file":"b"}',
        "],",
    ]


@pytest.mark.parametrize("data", [b"", SEALED[:-1], SEALED[:40], b"[]", b"null", b"\xff", SEALED + b"\n"])
def test_a_document_cut_short_or_of_another_kind_is_an_error(data: bytes) -> None:
    with pytest.raises(CorruptFile, match="does not hold what was committed"):
        unseal(data, "manifest.json")


def test_a_newer_format_is_refused(versions: Versions, place: Place) -> None:
    versions.create(1, BODY)
    path = "manifests/00000001.json"
    place.write(path, place.read(path).replace(b'"format_version": 2', b'"format_version": 3'))
    with pytest.raises(FormatTooNew, match=r"has format 3; this release reads up to 2\. Upgrade embeddings-dagster"):
        versions.read(1)


def test_a_missing_version_is_named(versions: Versions) -> None:
    with pytest.raises(MissingFile, match="the thing has no version 7"):
        versions.read(7)


def test_the_second_author_of_a_version_is_told(versions: Versions) -> None:
    versions.create(1, BODY)
    with pytest.raises(CommitConflict, match="the thing: version 1 was committed by another writer first"):
        versions.create(1, {**BODY, "recipe": "other"})
    assert versions.read(1)["recipe"] == "ré"


def test_a_commit_whose_reply_was_lost_meets_itself_and_succeeds(versions: Versions) -> None:
    assert versions.create(1, BODY) == versions.create(1, BODY)


def test_a_number_that_was_given_up_is_not_given_again(versions: Versions, place: Place) -> None:
    """A writer that slept for weeks: the name it wants is free, and its time is over."""
    for number in (1, 2, 3):
        versions.create(number, {**BODY, "version": number})
    place.delete(versions.path(2))
    with pytest.raises(CommitConflict, match="the thing: version 2 was committed by another writer first"):
        versions.create(2, BODY)
    assert versions.numbers() == [1, 3]


def test_the_newest_is_looked_for_again_where_what_was_listed_has_gone(versions: Versions, place: Place) -> None:
    versions.create(1, BODY)
    versions.create(2, {**BODY, "recipe": "second"})
    asked = []

    def read(number: int) -> str:
        asked.append(number)
        if len(asked) == 1:  # between the listing and the look at it, a newer one comes, and this one is given up
            versions.create(3, {**BODY, "recipe": "third"})
            place.delete(versions.path(2))
        return str(versions.read(number)["recipe"])

    assert versions.newest(read) == "third"
    assert asked == [2, 3]
    assert versions.newest(read, lambda recipe: recipe == "ré") == "ré"
    assert versions.newest(read, lambda recipe: recipe == "nothing") is None


def test_one_that_is_missing_though_nothing_newer_came_is_an_error(versions: Versions) -> None:
    versions.create(1, BODY)

    def read(number: int) -> str:
        raise MissingFile(f"no {number}")

    with pytest.raises(MissingFile, match="no 1"):
        versions.newest(read)


@pytest.mark.parametrize("number", [0, -1, "1", 1.0, True, None, []])
def test_a_format_that_is_no_number_of_one_is_an_error(number: object) -> None:
    document = {**BODY, "format_version": number}
    sha256 = hashlib.sha256(json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True).encode()).hexdigest()
    sealed = json.dumps({**document, "self_sha256": sha256}, ensure_ascii=False, indent=1, sort_keys=True)
    with pytest.raises(CorruptFile):
        unseal(sealed.encode(), "manifest.json")
