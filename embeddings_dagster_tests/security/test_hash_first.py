"""Files of the store are parsed only when they hold what was committed: a crafted one never reaches its parser."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest

from embeddings_dagster.catalog import Catalogue, Filter
from embeddings_dagster.catalog.layout import open_finished
from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.index import Generation
from embeddings_dagster_tests.search.world import SearchWorld, make_search_world
from embeddings_dagster_tests.stages.catalog_world import Item

HOSTILE = {
    ".faiss": b"IxFI",
    ".npy": b"\x93NUMPY\x01\x00\x76\x00{'descr': '|O'",
    ".parquet": b"PAR1",
    ".sqlite": b"SQLite format 3\0",
}
PARSERS = ((faiss, "read_index"), (np, "load"), (pq, "ParquetFile"), (sqlite3, "connect"))


@pytest.fixture
def world(tmp_path: Path) -> SearchWorld:
    made = make_search_world(tmp_path, ["one"])
    made.index("one", {f"art:{number}.png": [f"hash {number}"] for number in range(3)})
    made.record({"art:0.png": Item({"title": "a"})})
    return made


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the real parsers were given, by name of file where they were given one, else of handle."""
    seen: list[str] = []

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def parse(given: Any, *more: Any, **named: Any) -> Any:
            seen.append(str(getattr(given, "name", given)))
            return real(given, *more, **named)

        return parse

    for module, name in PARSERS:
        monkeypatch.setattr(module, name, watched(getattr(module, name)))
    return seen


def craft(path: Path) -> None:
    """Another file of the same name and the same length, which begins as its kind does."""
    head = HOSTILE[path.suffix]
    path.write_bytes(head + bytes(path.stat().st_size - len(head)))


def open_index(world: SearchWorld) -> None:
    generations = world.generations("one")
    made = generations.latest()
    assert made is not None
    Generation.open(generations, made)


def open_catalogue(world: SearchWorld) -> None:
    with Catalogue(world.store).open() as snapshot:
        snapshot.find(Filter(), limit=1)


def read_part(world: SearchWorld) -> None:
    chain = world.store.chain("raw_images", "art__1")
    manifest = chain.latest()
    assert manifest is not None
    chain.rows(manifest, ["image_id"])


@pytest.mark.parametrize(
    ("pattern", "open_it"),
    [
        ("indexes/**/index.faiss", open_index),
        ("indexes/**/vectors.npy", open_index),
        ("indexes/**/rows.parquet", open_index),
        ("catalog/**/*.sqlite", open_catalogue),
        ("raw_images/**/*.parquet", read_part),
    ],
)
def test_a_crafted_file_is_never_parsed(
    world: SearchWorld, parsed: list[str], pattern: str, open_it: Callable[[SearchWorld], None]
) -> None:
    (path,) = Path(world.store.root).glob(pattern)
    open_it(world)
    assert any(path.name in each for each in parsed), "the good one is parsed, so this test looks at the right place"
    craft(path)
    parsed.clear()
    with pytest.raises(CorruptFile, match=path.name.replace(".", r"\.")):
        open_it(world)
    assert [each for each in parsed if path.name in each] == []


def test_a_manifest_that_was_written_over_is_refused(world: SearchWorld) -> None:
    (path,) = Path(world.store.root).glob("raw_images/art__1/manifests/*.json")
    path.write_bytes(path.read_bytes().replace(b'"total":1', b'"total":0').replace(b'"run"', b'"RUN"'))
    with pytest.raises(CorruptFile, match="does not hold what was committed"):
        read_part(world)


def test_a_catalogue_runs_nothing_that_lies_in_it(world: SearchWorld) -> None:
    """Were its sha256 right, too: it is opened to be read, and views and triggers of strangers are not trusted."""
    (path,) = Path(world.store.root).glob("catalog/**/*.sqlite")
    with closing(open_finished(path)) as connection:
        assert connection.execute("pragma query_only").fetchone() == (1,)
        assert connection.execute("pragma trusted_schema").fetchone() == (0,)
        with pytest.raises(sqlite3.OperationalError):
            connection.execute("create table mine (x)")
        with pytest.raises(sqlite3.OperationalError, match=r"not authorized|no such function"):
            connection.execute("select load_extension('/tmp/x.so')")
