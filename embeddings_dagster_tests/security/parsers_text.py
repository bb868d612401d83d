"""Parsers of text and of plain values that strangers wrote: settings, records, tables, addresses, questions."""

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import typer
from hypothesis import strategies as st

from embeddings_dagster import ids
from embeddings_dagster.catalog.conditions import parse_condition
from embeddings_dagster.catalog.values import moment_of, number_of, span_of, value_of
from embeddings_dagster.catalog.words import parse_words
from embeddings_dagster.cli.hits import parse_weights, weighed
from embeddings_dagster.cli.template import render
from embeddings_dagster.errors import BadQuery, BadRecord, SettingsError, SourceError
from embeddings_dagster.search.paging import parse_cursor
from embeddings_dagster.settings import ENV_PREFIX, Settings, load_settings
from embeddings_dagster.sources.addresses import shown, without_secrets
from embeddings_dagster.sources.batch_names import batch_name
from embeddings_dagster.sources.catalog.addresses import is_address, places
from embeddings_dagster.sources.comics.listing import list_specs
from embeddings_dagster.sources.comics.spec import read_spec
from embeddings_dagster.sources.downloads.content import describe, extension_of
from embeddings_dagster.sources.downloads.names import slot_of, stem_of
from embeddings_dagster.sources.downloads.robots import forbidding
from embeddings_dagster.sources.downloads.urls import follow, host_of, normalise
from embeddings_dagster.sources.lenient_json import parse
from embeddings_dagster.sources.numbers import named_currency, parse_number, parse_price
from embeddings_dagster.sources.page_specs.coco import read_predictions
from embeddings_dagster.sources.page_specs.mapping import read_mapping
from embeddings_dagster.sources.page_specs.page import spec_path, text_panels
from embeddings_dagster.sources.problems import Notes
from embeddings_dagster.sources.scraped.document import parse_document
from embeddings_dagster.sources.scraped.items import ItemRecords, item_id
from embeddings_dagster.sources.scraped.paths import PathReader, is_folder_name
from embeddings_dagster.sources.tails import find_by_tail, parts_of
from embeddings_dagster.sources.times import parse_time, time_in_name
from embeddings_dagster.stages.groups_membership import groups_by_file
from embeddings_dagster_tests.security.fuzzing import Parser
from embeddings_dagster_tests.security.inputs import (
    CSV_PIECES,
    JSON_PIECES,
    ODD_TEXT,
    PLAIN,
    QUERY_PIECES,
    URL_PIECES,
    YAML_PIECES,
    damaged,
    encoded,
    objects,
    text_of,
)

JSON_TEXT = st.one_of(encoded(text_of(JSON_PIECES)), PLAIN.map(lambda value: json.dumps(value).encode()))
SECRET = "s3cr3t"
ITEM_KEYS = (
    "item_id",
    "id",
    "title",
    "price",
    "url",
    "scraped_at",
    "image_urls",
    "local_image_paths",
    "category",
    "brand",
)
PANEL_KEYS = (
    "panel_coords",
    "bbox",
    "polygon",
    "text",
    "speakers",
    "caption",
    "dialogue",
    "image_path",
    "x",
    "y",
    "w",
    "h",
)


def below(header: str, text: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """Text below a header that is right, and text alone."""
    return encoded(below_text(header, text))


def below_text(header: str, text: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(text.map(lambda rest: header + rest), text)


@contextmanager
def file_of(data: bytes, name: str) -> Iterator[Path]:
    """A file for a parser that wants one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        yield path


def is_plain(value: object) -> bool:
    """Whether every store can hold it: JSON without NaN, text without halves of characters and NUL."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    text.encode()
    return "\0" not in text


def settings_file(data: bytes) -> None:
    with file_of(data, "embeddings.yaml") as path:
        found = load_settings(path)
        assert isinstance(found, Settings)
        assert found.check_folders() is not None
        assert Path(found.cache_root).is_absolute()


def environment(given: dict[str, str]) -> None:
    before = dict(os.environ)
    try:
        os.environ.update({f"{ENV_PREFIX}{name}": value for name, value in given.items()})
        with file_of(b"", "embeddings.yaml") as path:
            assert isinstance(load_settings(path), Settings)
    finally:
        os.environ.clear()
        os.environ.update(before)


def lenient(data: bytes) -> None:
    value, repeated = parse(data, "x.json")
    json.dumps(value)
    assert all(name == name.replace("\0", "") for name in repeated)


def batch_file(given: tuple[bytes, bool]) -> None:
    data, by_line = given
    items, facts, _ = parse_document(data, "batch.json", by_line=by_line)
    records = ItemRecords(facts.get("category"), None, Notes())
    for each in items:
        if isinstance(each, dict):
            record = records.record(each, "item 1")
            assert is_plain(record.metadata)
            assert isinstance(record.digest(), str)
            assert len(item_id(each) or "") <= 1_024


def page_spec(data: bytes) -> None:
    page = read_spec(data, "p.json")
    assert is_plain(page.record.metadata)
    assert page.image or page.record.fault
    for region in page.record.regions:
        assert region.region == 0 or region.values or region.fault
        assert is_plain(region.text)


def list_file(data: bytes) -> None:
    with file_of(data, "pages.txt") as path:
        (path.parent / "a.json").write_text("{}")
        specs = list_specs(path, source="books", setting="path")
        assert all(
            not parts or ".." not in parts for parts in (each.path.split("/") for each in specs.files if each.size)
        )


def mapping(data: bytes) -> None:
    with file_of(data, "mapping.csv") as path:
        for row in read_mapping(path):
            parts = spec_path(row).split("/")
            assert ".." not in parts
            assert "" not in parts[1:]
            assert not spec_path(row).startswith("/")


def predictions(data: bytes) -> None:
    with file_of(data, "coco.json") as path:
        found = read_predictions(path, categories=[1], min_score=0.5)
        boxes = [box for each in found.boxes.values() for box in each]
        assert all(math.isfinite(number) for box in boxes for number in box)
        found.find(["1", "000"], ["a.jpg", "0" * 5_000 + "x"])


def groups(data: bytes) -> None:
    with file_of(data, "groups.csv") as path:
        found = dict(groups_by_file(path, "art", ["art:1.png", "art:a/b.png"]))
        assert found.keys() <= {"art:1.png", "art:a/b.png"}


def number(value: object) -> None:
    found = parse_number(value)
    assert found is None or math.isfinite(found)
    price = parse_price(value)
    assert price is None or price >= 0
    code = named_currency(value)
    assert code is None or len(code) == 3


def moment(value: object) -> None:
    found = parse_time(value)
    assert found is None or (isinstance(found, datetime) and 1900 <= found.year < 2200)
    if isinstance(value, str):
        time_in_name(value)


def identity(text: str) -> None:
    name = text.encode("utf-8", "surrogateescape" if not _has_other_halves(text) else "replace").decode(
        "utf-8", "surrogateescape"
    )
    local_id = ids.escape_local_id(name)
    assert ids.unescape_local_id(local_id) == name
    local_id.encode()
    ids.natural_key(text)
    assert ids.is_batch_key(ids.batch_key("art", batch_name(name)))
    assert not ids.is_batch_key(text) or not set(text) & set("/\\\0 ")
    found = ids.parse_image_id(text)
    assert ids.is_source_name(found.source)
    assert found.ordinal >= 0


def _has_other_halves(text: str) -> bool:
    return any("\ud800" <= each <= "\udfff" and not "\udc80" <= each <= "\udcff" for each in text)


def address(text: str) -> None:
    for told in (shown(text), without_secrets(text)):
        assert f"={SECRET}" not in told.lower() or "?" not in text.partition(f"={SECRET}")[0]
    assert shown(text).isprintable()
    assert len(shown(text)) <= 300
    for place in places(text):
        assert not (place.address and place.fault)
        assert not place.address or is_address(place.address)
        assert place.fault.isprintable()
    asked = normalise(text)
    assert asked.isascii()
    assert urlsplit(asked).scheme in ("http", "https")
    assert host_of(asked)
    assert "\r" not in asked
    assert "\n" not in asked
    assert urlsplit(follow("https://example.com/a", text)).scheme in ("http", "https")


def scraped_path(text: str) -> None:
    is_folder_name(text)
    for reading in PathReader(("/data/scraped", "/mnt/x")).readings(text, "batch_1", "7"):
        parts = reading.split("/")
        assert not reading.startswith("/")
        assert not {"", ".", ".."} & set(parts)
        assert "\0" not in reading


def tail(text: str) -> None:
    assert not {"", ".", ".."} & set(parts_of(text))
    assert set(find_by_tail(["art:a/b.json", "art:b.json"], text)) <= {"art:a/b.json", "art:b.json"}


def file_name(text: str) -> None:
    stem = stem_of(text)
    assert not set(stem) & set('<>:"/\\|?*\0')
    assert 0 < len(stem.encode()) <= 255 - 5
    assert stem not in (".", "..")
    assert not stem.startswith(".")
    assert slot_of(stem)


def answer_of_a_server(given: tuple[bytes, str]) -> None:
    data, header = given
    assert extension_of(data) is None or extension_of(data).startswith(".")  # type: ignore[union-attr]
    assert describe(data).isprintable()
    assert forbidding([header], "embeddings-dagster") in ("", "noai", "noimageai", "noindex", "noimageindex")


def question(text: str) -> None:
    name, weight = weighed(text)
    assert name
    assert weight >= 0
    condition = parse_condition(text)
    assert condition.field


def words(text: str) -> None:
    found = parse_words(text)
    assert found.wanted or found.unwanted


def values(text: str) -> None:
    value = value_of(text)
    assert is_plain([value.text])
    for each in (number_of(text), moment_of(text), span_of(text)):
        assert each is None or isinstance(each, int | float) or len(each) > 0


def panels(value: object) -> None:
    found = text_panels(value)
    assert found is None or is_plain([each.plain() for each in found])


VARIABLES = ("DATA", "CACHE", "SOURCES", "MODELS", "RGB", "RGB__MAX_BYTES", "SOURCES__A__KIND", "BATCH_IMAGES", "INDEX")
NO_NUL = text_of([*JSON_PIECES, "folder", "x", "1"], 20).map(lambda text: text.replace("\0", "").replace("\ud800", ""))
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{each}: &a{each} [{','.join([f'*a{each - 1}'] * 9)}]\n" for each in range(1, 9)
)
MERGED = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{each}: &a{each} {{<<: [{','.join([f'*a{each - 1}'] * 9)}]}}\n" for each in range(1, 9)
)

TEXT_PARSERS = (
    Parser(
        "settings file",
        "settings",
        ("settings", "settings_yaml"),
        st.one_of(encoded(text_of(YAML_PIECES)), damaged([render({"art": "art"}).encode()], head=2_000)),
        settings_file,
        (SettingsError,),
        (
            ("aliases of aliases: a thousand million values once", BOMB.encode()),
            ("merged aliases: as many keys once", MERGED.encode()),
            ("a number of base 60: time as a square once", b"rgb:\n  max_bytes: 1" + b":5" * 200_000),
            ("a number too long to be written down: a ValueError once", b"rgb:\n  max_bytes: 0x" + b"f" * 20_000),
            ("an alias within itself", b"sources: &a {b: *a}\n"),
            ("ten thousand levels", b"a: " + b"[" * 10_000),
            ("a tag that does not fit: an AttributeError once", b"data: !!timestamp soon"),
            ("another: a KeyError once", b"data: !!bool perhaps"),
            ("an object of Python", b"data: !!python/object/apply:os.system ['id']\n"),
            ("a NUL in a path", b'data: "a\\0b"\n'),
            ("a home of nobody: a RuntimeError once", b"sources: {a: {kind: folder, path: ~nobody-here/b}}\n"),
        ),
        share=0.5,
    ),
    Parser(
        "environment",
        "settings",
        ("settings",),
        st.dictionaries(st.sampled_from(VARIABLES), NO_NUL, max_size=3),
        environment,
        (SettingsError,),
        (
            ("a hundred thousand levels: a RecursionError once", {"SOURCES": "[" * 100_000}),
            ("JSON cut short: another library's error once", {"RGB": '{"max_bytes": '}),
            ("a number of 5,000 digits", {"RGB": '{"max_bytes":' + "9" * 5_000 + "}"}),
        ),
        share=0.5,
    ),
    Parser(
        "JSON of strangers",
        "JSON",
        ("sources.lenient_json",),
        JSON_TEXT,
        lenient,
        (BadRecord,),
        (
            ("depth hidden behind a quote and a fence: a RecursionError once", b'x" ```\n' + b"[" * 100_000 + b"\n```"),
            (
                "one name twice among 20,000: 7 seconds once",
                ("{" + ",".join(f'"{each}":0' for each in range(20_000)) + ',"0":1}').encode(),
            ),
            ("a million commas", b"[" + b"," * 1_000_000 + b"]"),
            ("quotes never closed", b'["' * 200_000),
            ("numbers beyond all measure", b"[1e999999, -1e999999, 1" + b"0" * 1_000_000 + b"]"),
        ),
    ),
    Parser(
        "batch file of a scraper",
        "JSON",
        ("sources.scraped.document", "sources.scraped.items"),
        st.tuples(st.one_of(JSON_TEXT, objects(*ITEM_KEYS, within="items")), st.booleans()),
        batch_file,
        (BadRecord,),
        (
            ("many empty items", (b"[" + b"{}," * 99_999 + b"{}]", False)),
            ("wrong types everywhere", (b'{"items": [{"item_id": [], "price": {}, "image_urls": {"a": 1}}]}', False)),
        ),
    ),
    Parser(
        "page spec",
        "JSON",
        ("sources.comics.spec", "sources.comics.panels", "sources.comics.text"),
        st.one_of(JSON_TEXT, objects(*PANEL_KEYS, within="panels")),
        page_spec,
        cases=(("a million panels", b'{"image": "a.png", "panels": [' + b"1," * 999_999 + b"1]}"),),
    ),
    Parser(
        "list of page specs",
        "text",
        ("sources.comics.listing",),
        encoded(text_of(["a.json", "\n", "C:\\", "../"])),
        list_file,
        (SourceError,),
        share=0.5,
    ),
    Parser(
        "mapping of pages",
        "CSV",
        ("sources.page_specs.mapping",),
        below("image_rel_path,image_path,predictions_json_id\n", text_of(CSV_PIECES)),
        mapping,
        (SourceError,),
        share=0.5,
    ),
    Parser(
        "predictions",
        "JSON",
        ("sources.page_specs.coco",),
        st.one_of(JSON_TEXT, objects("image_id", "category_id", "score", "bbox", "id", within="annotations")),
        predictions,
        (SourceError,),
        (("numbers that are none", b'{"annotations": [{"image_id": 1e999, "category_id": 1, "bbox": [1,2,3,"x"]}]}'),),
        share=0.5,
    ),
    Parser("text of a page", "JSON", ("sources.page_specs.page",), PLAIN, panels),
    Parser(
        "file of groups",
        "CSV",
        ("stages.groups_membership",),
        below("id,group\n", text_of(CSV_PIECES)),
        groups,
        (SourceError,),
        (("a field beyond the limit", b'id,group\n"' + b"x" * (17 * 2**20) + b'",a\n'),),
        share=0.5,
    ),
    Parser(
        "numbers",
        "values",
        ("sources.numbers",),
        PLAIN,
        number,
        (ValueError,),
        (("digits and dividers", "1." * 40_000), ("a currency and no number", "€" * 90)),
    ),
    Parser("times", "values", ("sources.times",), PLAIN, moment, (ValueError,), (("a time too long", "1" * 100_000),)),
    Parser(
        "ids",
        "paths",
        ("ids", "sources.batch_names"),
        below_text("art:", text_of([":", "#", "art", "%", "1", "__", "..."], 20)),
        identity,
        (ValueError,),
    ),
    Parser(
        "addresses",
        "addresses",
        ("sources.addresses", "sources.catalog.addresses", "sources.downloads.urls"),
        below_text("https://example.com/", text_of(URL_PIECES, 20)),
        address,
        (ValueError,),
        (
            ("keywords of secrets: hours once", "https://x/?" + "?key" * 2_000),
            ("keywords in a redirect: seconds once", "x:?" + "key" * 20_000),
            ("a list of addresses", "[" + '"https://example.com/a.png",' * 2_000 + "]"),
            ("lists in lists", "[" * 8_000),
            ("a control character in front", "\0http://\ud800"),
            ("a line break in the scheme", "ht\ntp://\ud800"),
        ),
    ),
    Parser(
        "paths of a scraper",
        "paths",
        ("sources.scraped.paths", "sources.scraped.names"),
        text_of(["../", "/", "\\", "C:", "NUL", "con.txt", "images", "batch_1", "7", ".. ", "...", "/data/scraped/"]),
        scraped_path,
        (BadRecord,),
    ),
    Parser(
        "ends of paths", "paths", ("sources.tails",), text_of(["a", "b", ".json", "/", "\\", "..", "C:", ":"]), tail
    ),
    Parser(
        "names of cached files",
        "paths",
        ("sources.downloads.names",),
        text_of(["CON", "nul.", ".", " ", "/", "\\", "x" * 200, *ODD_TEXT]),
        file_name,
    ),
    Parser(
        "answers of a server",
        "downloads",
        ("sources.downloads.content", "sources.downloads.robots"),
        st.tuples(
            st.binary(max_size=90), text_of(["noai", ",", ":", "none", "embeddings-dagster", "unavailable_after"])
        ),
        answer_of_a_server,
    ),
    Parser(
        "conditions",
        "questions",
        ("catalog.conditions", "cli.hits"),
        text_of(QUERY_PIECES).filter(bool),
        question,
        (BadQuery,),
        (
            ("blanks that may be of the name", "a" + " " * 1_990 + "="),
            ("quotes", '"' * 2_000),
            ("a list", "a in " + "b," * 900),
        ),
    ),
    Parser(
        "words", "questions", ("catalog.words",), text_of(QUERY_PIECES), words, (BadQuery,), (("quotes", '"' * 9_999),)
    ),
    Parser(
        "weights of models",
        "questions",
        ("cli.hits",),
        text_of(["clip", "=", ",", "0.5", "nan", "1e999"]),
        parse_weights,
        (typer.BadParameter,),
    ),
    Parser(
        "place to go on from",
        "questions",
        ("search.paging",),
        st.one_of(text_of(["-", "_", "=", "A"]), st.binary(max_size=99).map(bytes.hex)),
        parse_cursor,
        (BadQuery,),
    ),
    Parser(
        "values that are compared",
        "questions",
        ("catalog.values",),
        text_of(["2024", "-", ":", "T", "Z", "+", "0001-01-01", "9999-12-31", "1e999", "."], 12),
        values,
    ),
)
