"""Whatever a file holds, a scan is an error or a true account of its rows."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embeddings_dagster.errors import SourceError
from embeddings_dagster.ids import escape_local_id, unescape_local_id
from embeddings_dagster.sources.catalog import CatalogSource
from embeddings_dagster_tests.sources.catalogues import HEADER, WEB, records, rows_of, source

QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
PIECES = st.sampled_from(
    ['"', '""', ",", ";", "\t", "|", "\n", "\r\n", "\r", " ", "\0", "\ufeff", "ä", "nan", "1", "1", "2", f"{WEB}1.jpg"]
)
CELLS = st.one_of(  # too many control characters, and a file is no text
    st.text(st.characters(exclude_categories=["Cc"]), max_size=6),
    PIECES.filter(lambda piece: piece != "\0"),
    st.just(f"{WEB}2.jpg"),
)


def examine(opened: CatalogSource) -> int | None:
    """How many rows are accounted for; None where there is an error. Entries and records have to agree."""
    try:
        scan = opened.scan()
    except SourceError:
        return None
    keys = [(each["local_id"], each["ordinal"]) for each in scan.entries.to_pylist()]
    assert keys == sorted(set(keys), key=lambda key: (key[0].encode(), key[1]))
    assert all(local_id == escape_local_id(unescape_local_id(local_id)) for local_id, _ in keys)
    assert records(opened).keys() == set(keys)
    json.dumps([problem.reason for problem in scan.problems]).encode()
    return rows_of(scan)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet", "a"])
@given(data=st.one_of(st.binary(max_size=200), st.binary(max_size=50).map(lambda tail: HEADER.encode() + tail)))
@QUICK
def test_any_bytes(tmp_path: Path, name: str, data: bytes) -> None:
    examine(source(tmp_path, data, name))


@given(text=st.lists(PIECES, max_size=60).map("".join), encoding=st.sampled_from(["utf-8", "utf-16", "cp1252"]))
@QUICK
def test_any_text_below_a_header(tmp_path: Path, text: str, encoding: str) -> None:
    examine(source(tmp_path, (HEADER + text).encode(encoding, "replace")))


@given(rows=st.lists(st.lists(CELLS, min_size=4, max_size=4), max_size=8))
@QUICK
def test_every_row_that_is_well_written_is_accounted_for(tmp_path: Path, rows: list[list[str]]) -> None:
    def quoted(cell: str) -> str:
        return '"' + cell.encode("utf-8", "replace").decode().replace('"', '""') + '"'

    all_rows = [*rows, ["last", "", "", f"{WEB}3.jpg"]]
    text = HEADER + "".join(",".join(map(quoted, row)) + "\n" for row in all_rows)
    assert examine(source(tmp_path, text)) == len(all_rows)


@given(
    values=st.lists(
        st.dictionaries(
            st.sampled_from(["id", "product_id", "image_url", "price", "title", " ID", ""]),
            st.recursive(
                st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just(f"{WEB}1.jpg")),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
                max_leaves=5,
            ),
        ),
        max_size=6,
    )
)
@QUICK
def test_every_record_is_accounted_for(tmp_path: Path, values: list[dict[str, object]]) -> None:
    all_values = [*values, {"id": "last", "image_url": f"{WEB}3.jpg"}]
    text = "".join(f"{json.dumps(each)}\n" for each in all_values)
    assert examine(source(tmp_path, text, "a.jsonl")) == len(all_values)
