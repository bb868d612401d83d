import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.errors import CommitConflict, CorruptFile, FormatTooNew, MissingFile
from embeddings_dagster.store.files_local import LocalFiles
from embeddings_dagster.store.versions import Versions, seal, unseal

BODY = {"batch": "art__0001", "parts": [{"file": "parts/a.parquet", "rows": 3, "dead": [1]}], "recipe": "ré"}
SEALED = json.dumps(seal(BODY), ensure_ascii=False, indent=1, sort_keys=True).encode()


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(LocalFiles(tmp_path), "manifests", "the thing")


def test_a_document_is_read_back_with_its_seal(versions: Versions) -> None:
    sealed = versions.create(1, BODY)
    assert versions.read(1) == sealed
    assert {**BODY, "format_version": 1, "self_sha256": sealed["self_sha256"]} == sealed


def test_versions_are_listed_in_order_and_strangers_are_not(versions: Versions, tmp_path: Path) -> None:
    for number in (2, 10, 1):
        versions.create(number, BODY)
    for name in ("notes.txt", "1.json", "00000003.json.bak", ".00000004.json.tmp"):
        (tmp_path / "manifests" / name).touch()
    assert versions.numbers() == [1, 2, 10]
    assert versions.path(10) == "manifests/00000010.json"


@given(st.integers(0, len(SEALED) * 8 - 1))
def test_any_flipped_bit_of_a_document_is_an_error(bit: int) -> None:
    data = bytearray(SEALED)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises((CorruptFile, FormatTooNew), match=r"manifest\.json"):
        unseal(bytes(data), "manifest.json")


@pytest.mark.parametrize("data", [b"", SEALED[:-1], SEALED[:40], b"[]", b"null", b"\xff", SEALED + b"\n"])
def test_a_document_cut_short_or_of_another_kind_is_an_error(data: bytes) -> None:
    with pytest.raises(CorruptFile, match="does not hold what was committed"):
        unseal(data, "manifest.json")


def test_a_newer_format_is_refused(versions: Versions, tmp_path: Path) -> None:
    versions.create(1, BODY)
    path = tmp_path / "manifests/00000001.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(FormatTooNew, match=r"has format 2; this release reads up to 1\. Upgrade embeddings-dagster"):
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
