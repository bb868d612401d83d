"""Encodings and packing of catalogues."""

import gzip
from pathlib import Path

import pytest

from embeddings_dagster.errors import SourceError
from embeddings_dagster_tests.sources.catalogues import HEADER, WEB, listed, metadata, source, told

TEXT = f"{HEADER}ä1,Größe €,5,{WEB}ü.jpg\r\n2,Two,6,{WEB}2.jpg\r\n"
ENTRIES = [("2", 0, f"{WEB}2.jpg"), ("ä1", 0, f"{WEB}ü.jpg")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("told_so", [False, True])
def test_unicode_is_read_with_and_without_its_mark(tmp_path: Path, encoding: str, told_so: bool) -> None:
    opened = source(tmp_path, TEXT.encode(encoding), encoding=encoding if told_so else "auto")
    assert listed(opened.scan()) == ENTRIES
    assert metadata(opened)["ä1"]["title"] == "Größe €"
    assert told(opened.scan()) == []


def test_utf_16_without_a_mark_is_read_when_it_is_named(tmp_path: Path) -> None:
    assert listed(source(tmp_path, TEXT.encode("utf-16-be"), encoding="utf-16-be").scan()) == ENTRIES


def test_what_is_not_utf_8_is_windows_1252_and_told(tmp_path: Path) -> None:
    opened = source(tmp_path, TEXT.encode("cp1252"))
    assert listed(opened.scan()) == ENTRIES
    assert metadata(opened)["ä1"]["title"] == "Größe €"
    assert told(opened.scan()) == [
        "products.csv:2: is not UTF-8; read as Windows-1252. Save the file as UTF-8, or set `encoding`"
    ]


def test_one_damaged_line_changes_no_other(tmp_path: Path) -> None:
    opened = source(tmp_path, TEXT.encode() + f"3,caf\xe9,1,{WEB}3.jpg\n".encode("latin-1"))
    assert listed(opened.scan()) == [ENTRIES[0], ("3", 0, f"{WEB}3.jpg"), ENTRIES[1]]
    assert metadata(opened)["3"]["title"] == "café"


def test_other_encodings_are_read_when_they_are_named(tmp_path: Path) -> None:
    text = TEXT.replace("Größe €", "日本")
    opened = source(tmp_path, text.replace("ä", "").replace("ü", "").encode("shift_jis"), encoding="shift_jis")
    assert metadata(opened)["1"]["title"] == "日本"


def test_lines_that_do_not_fit_the_named_encoding_are_told(tmp_path: Path) -> None:
    scan = source(tmp_path, TEXT.encode("cp1252"), encoding="utf-8").scan()
    assert told(scan) == ["products.csv:2: does not fit the encoding utf-8; correct it"]
    assert len(scan.entries) == 2


@pytest.mark.parametrize("encoding", ["klingon", "base64", "a\0b"])
def test_an_encoding_that_does_not_exist_is_an_error(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(SourceError, match=r"there is no encoding '.*'; correct `encoding`.*Nothing was removed"):
        source(tmp_path, TEXT, encoding=encoding).scan()


def test_nul_bytes_and_invisible_marks_are_left_out(tmp_path: Path) -> None:
    opened = source(tmp_path, f"{HEADER}\ufeff1\u200b,O\0ne\u00a0,5, {WEB}1.jpg\u00a0\n")
    assert listed(opened.scan()) == [("1", 0, f"{WEB}1.jpg")]
    assert metadata(opened) == {"1": {"title": "One", "price": 5.0}}


def test_a_carriage_return_within_a_line_ends_none(tmp_path: Path) -> None:
    opened = source(tmp_path, f"{HEADER}1,One\rtwo,5,{WEB}1.jpg\n2,Two,6,{WEB}2.jpg\n")
    assert metadata(opened)["1"]["title"] == "One two"
    assert len(opened.scan().entries) == 2


@pytest.mark.parametrize("name", ["products.csv.gz", "products.CSV"])
def test_a_packed_file_is_unpacked(tmp_path: Path, name: str) -> None:
    assert listed(source(tmp_path, gzip.compress(TEXT.encode()), name).scan()) == ENTRIES


@pytest.mark.parametrize("cut", [5, 30, 100])
def test_a_damaged_packed_file_is_an_error(tmp_path: Path, cut: int) -> None:
    data = gzip.compress(TEXT.encode())[:cut]
    with pytest.raises(SourceError, match=r"cannot be read .*copy or write it again.*Nothing was removed"):
        source(tmp_path, data, "products.csv.gz").scan()


def test_a_file_packed_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is packed by gzip twice"):
        source(tmp_path, gzip.compress(gzip.compress(TEXT.encode())), "products.csv.gz").scan()
