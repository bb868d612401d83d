"""Parsers of whole files: catalogues, pictures, manifests, the record of downloads."""

import io
import json
import sqlite3
import tempfile
import warnings
import zlib
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from embeddings_dagster.errors import CorruptFile, FormatTooNew, ImageError, SourceError
from embeddings_dagster.images import DecodeRules, decode, probe, to_rgb
from embeddings_dagster.images.risk import risk
from embeddings_dagster.sources.downloads.record import FILE, Record, Row
from embeddings_dagster.store.versions import seal, unseal
from embeddings_dagster_tests.images.pictures import chunk, file_of, gradient, gradient_rgba, linear_profile
from embeddings_dagster_tests.security.fuzzing import Parser
from embeddings_dagster_tests.security.inputs import CSV_PIECES, JSON_PIECES, damaged, encoded, objects, text_of
from embeddings_dagster_tests.sources.catalogues import HEADER, source
from embeddings_dagster_tests.sources.test_catalog_fuzz import examine

RULES = DecodeRules(max_pixels=300_000)  # a damaged header may promise a large picture; that is not what is tried
URL = "https://example.com/a.png"


def catalogue(given: tuple[bytes, str]) -> None:
    data, name = given
    with tempfile.TemporaryDirectory() as folder:
        examine(source(Path(folder), data, name))


def parquet() -> bytes:
    out = io.BytesIO()
    rows = {"product_id": ["1", "2", None], "price": [1.5, float("nan"), -1.0], "image_url": [URL, None, "x"]}
    nested = pa.array([[{"src": URL}], [], None])
    pq.write_table(pa.table({**rows, "images": nested}), out, compression="zstd")
    return out.getvalue()


def packed(data: bytes) -> bytes:
    maker = zlib.compressobj(wbits=31)
    return maker.compress(data) + maker.flush()


def tables() -> st.SearchStrategy[tuple[bytes, str]]:
    text = text_of(CSV_PIECES).map(lambda rest: HEADER + rest)
    lines = st.lists(objects("id", "product_id", "image_url", "price"), max_size=4).map(b"\n".join)
    good = (HEADER + f"1,a,2,{URL}\n").encode()
    return st.one_of(
        st.tuples(encoded(text), st.sampled_from(["a.csv", "a.tsv", "a"])),
        st.tuples(st.one_of(lines, encoded(text_of(JSON_PIECES))), st.just("a.jsonl")),
        st.tuples(damaged([parquet()], head=16), st.sampled_from(["a.parquet", "a.csv"])),
        st.tuples(damaged([packed(good)], head=24), st.just("a.csv.gz")),
    )


PLAIN_FILES = (
    file_of(gradient(), "JPEG", quality=80, icc_profile=linear_profile()),
    file_of(gradient(), "JPEG", progressive=True),
    file_of(gradient_rgba(), "WEBP", lossless=True),
    file_of(gradient(), "GIF"),
    file_of(gradient().quantize(), "BMP"),
)
PNGS = (
    file_of(gradient_rgba(), "PNG", icc_profile=linear_profile()),
    file_of(gradient().quantize(16), "PNG", transparency=bytes(range(16))),
    file_of(gradient(), "PNG", save_all=True, append_images=[gradient().rotate(90)]),
)
KINDS = (
    b"IHDR",
    b"PLTE",
    b"IDAT",
    b"tRNS",
    b"iCCP",
    b"eXIf",
    b"zTXt",
    b"iTXt",
    b"tEXt",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"gAMA",
)


@st.composite
def pngs(draw: st.DrawFn) -> bytes:
    """A PNG whose chunks are damaged, put in, left out and moved, each with the right checksum: what a decoder refuses
    for its checksum would never reach what reads it."""
    data = draw(st.sampled_from(PNGS))
    parts = list(_chunks(data))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(parts) - 1))
        kind, body = parts[at]
        match draw(st.sampled_from(["damage", "put", "drop", "move", "rename"])):
            case "damage":
                parts[at] = (kind, draw(damaged([body or b"x"], 2, 24)))
            case "put":
                content = st.one_of(
                    st.binary(max_size=40), st.sampled_from([b"a\0\0" + zlib.compress(bytes(3_000_000))])
                )
                parts.insert(at, (draw(st.sampled_from(KINDS)), draw(content)))
            case "drop" if len(parts) > 1:
                del parts[at]
            case "move":
                parts.insert(draw(st.integers(0, len(parts) - 1)), parts.pop(at))
            case _:
                parts[at] = (draw(st.sampled_from(KINDS)), body)
    return data[:8] + b"".join(chunk(kind, body) for kind, body in parts) + chunk(b"IEND", b"")


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found[:-1]


def picture(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert isinstance(risk(data), str)
        seen = decode(data, RULES)
        assert seen.mode == "RGB"
        assert seen.info == {}
        assert probe(data, RULES).upright == seen.size
        kept = to_rgb(data, RULES)
        assert decode(kept.data, RULES) == seen


def sealed() -> list[bytes]:
    body = {"batch": "art__1", "parts": [{"file": "a.parquet", "rows": 3}], "counts": {"total": 3}, "version": 2}
    return [
        b"{\n"
        + b",\n".join(json.dumps(name).encode() + b": " + json.dumps(value).encode() for name, value in pairs)
        + b"\n}"
        for pairs in [sorted(seal(body).items())]
    ]


def manifest(data: bytes) -> None:
    found = unseal(data, "manifests/00000001.json")
    assert found["format_version"] == 1
    assert data in sealed(), "no other bytes are what was sealed"


@cache
def record_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        record = Record(Path(folder))
        with record.writing():
            for number in range(20):
                record.put(Row(f"{URL}?{number}", f"{number}", f"{number}", f"{number}.png", 9, "aa", revision=number))
            record.changed()
        record.close()
        with sqlite3.connect(Path(folder) / FILE) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode = DELETE")
        connection.close()
        return (Path(folder) / FILE).read_bytes()


def record_of_downloads(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FILE).write_bytes(data)
        record = Record(Path(folder))
        try:
            row = record.get(f"{URL}?3")
            assert row is None or (isinstance(row.name, str) and isinstance(row.size, int | None))
            assert isinstance(record.state(), str)
            assert all(isinstance(each, str) for each in record.revised().values())
            record.in_slot("4")
        finally:
            record.close()


def wrong_types() -> bytes:
    """A record whose rows hold text where numbers belong, which SQLite allows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        path.write_bytes(record_file())
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE urls SET size = 'many', file = x'00'")
        connection.close()
        return path.read_bytes()


FILE_PARSERS = (
    Parser(
        "catalogue",
        "tables",
        (
            "sources.catalog.delimited",
            "sources.catalog.jsonl",
            "sources.catalog.parquet",
            "sources.catalog.text",
            "sources.catalog.read",
            "sources.catalog.values",
            "sources.catalog.layout",
            "sources.catalog.items",
            "sources.catalog.packed",
            "sources.catalog.addresses",
        ),
        tables(),
        catalogue,
        (),
        (
            ("a field of 100 MB", (HEADER.encode() + b'1,"' + b"x" * 100_000_000 + b'",2,\n2,b,1,\n', "a.csv")),
            ("a million columns", (b"a," * 1_000_000 + b"b\n", "a.csv")),
            ("quotes that are never closed", ((HEADER + '1,"a,2,x\n' * 5_000).encode(), "a.csv")),
            ("NULs", ((HEADER + "1,\0a\0,2,x\n").encode(), "a.csv")),
            ("mixed encodings", (HEADER.encode() + "1,ä,2,x\n".encode() + "2,ä,2,x\n".encode("cp1252"), "a.csv")),
            ("gzip that unpacks to a line without an end", (packed(bytes([97]) * 70_000_000), "a.csv.gz")),
            ("a million levels", (b'{"a":' * 1_000_000, "a.jsonl")),
        ),
        share=0.5,
    ),
    Parser(
        "pictures",
        "pictures",
        ("images.opening", "images.formats", "images.png", "images.risk", "images.upright", "images.profile"),
        st.one_of(pngs(), pngs(), damaged(PLAIN_FILES)),
        picture,
        (ImageError,),
        (
            (
                "a colour profile that unpacks to 100 MB",
                PNGS[1][:33] + chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8))) + PNGS[1][33:],
            ),
            (
                "text that unpacks to 100 MB",
                PNGS[1][:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))) + PNGS[1][33:],
            ),
            ("SVG called a picture", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
            ("a web page behind the signature of a GIF", b"GIF89a/*<html><script>alert(1)</script>"),
            ("a ZIP behind a JPEG", PLAIN_FILES[0] + b"PK\x03\x04" + bytes(100)),
        ),
        share=0.7,
    ),
    Parser(
        "manifests",
        "store",
        ("store.versions",),
        st.one_of(damaged(sealed(), head=200), objects("format_version", "self_sha256", "batch")),
        manifest,
        (CorruptFile, FormatTooNew),
        (
            ("a hundred thousand levels", b"[" * 100_000),
            ("a version of 5,000 digits", b'{"format_version": ' + b"9" * 5_000 + b"}"),
            ("a version beyond all", b'{"format_version": 1e999}'),
        ),
    ),
    Parser(
        "record of downloads",
        "store",
        ("sources.downloads.record",),
        damaged([record_file()], 8, 4_096),
        record_of_downloads,
        (SourceError,),
        (("text where numbers belong: a TypeError once", wrong_types()),),
        share=0.3,
    ),
)
