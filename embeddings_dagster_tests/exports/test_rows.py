"""Which rows are exported, in which order, from which state, and how much of them is held."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embeddings_dagster import ids
from embeddings_dagster.errors import BadQuery, CorruptFile, ExportRefused, IndexUnavailable, MissingFile, UnknownItem
from embeddings_dagster.exports import Wanted, export_faiss, export_json, export_npy
from embeddings_dagster.exports import rows as rows_module
from embeddings_dagster.exports.rows import Rows, select_rows
from embeddings_dagster.ids import Key
from embeddings_dagster.stages.index_versions import index_rollback
from embeddings_dagster_tests.exports.shelf import Shelf, make_shelf

NAME = st.text(st.sampled_from("0129azÄ%#./ -\n日\udc80"), min_size=1, max_size=6).map(ids.escape_local_id)
PICTURE = st.tuples(NAME, st.integers(0, 11))


def rows_of(shelf: Shelf, **wanted: object) -> Rows:
    return select_rows(shelf.context, Wanted(**wanted))  # type: ignore[arg-type]


def found(shelf: Shelf, **wanted: object) -> list[str]:
    return rows_of(shelf, **wanted).ids


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sets(PICTURE, min_size=1, max_size=12), st.integers(1, 3))
def test_each_id_has_its_own_vector_in_natural_order(pictures: set[tuple[str, int]], segments: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shelf = make_shelf(Path(folder))
        shelf.put(*(ids.image_id("art", *each) for each in pictures), segments=min(segments, len(pictures)))
        rows = rows_of(shelf, pictures="all")
        vectors = np.concatenate(list(rows.blocks()))
        assert len(set(rows.ids)) == len(rows) == len(pictures)
        for local_id, vector in zip(rows.ids, vectors, strict=True):
            assert np.array_equal(vector, shelf.vector(f"art:{local_id}"))
        keys = [ids.parse_image_id(f"art:{local_id}")[1:] for local_id in rows.ids]
        assert keys == sorted(pictures, key=lambda each: (ids.natural_key(each[0]), *each))
        first = rows_of(shelf)
        assert sorted(first.ids) == sorted({local_id for local_id, _ in pictures})
        assert (first.further, rows.further) == (len(pictures) - len(first), 0)


def test_sources_batches_and_conditions_select(shelf: Shelf) -> None:
    shelf.put("art:1", "shop:a", "shop:b", Key("shop:b", 1), "shop:c")
    prices = {"shop:a": {"price": 5}, "shop:b": {"price": 20, "brand": "Acme"}, "shop:d": {"price": 6}}
    shelf.catalogue(prices)
    assert found(shelf, sources=("shop",)) == ["a", "b", "c"]
    assert found(shelf, batches=("art__1",)) == ["1"]
    assert found(shelf, sources=("art", "shop")) == ["art:1", "shop:a", "shop:b", "shop:c"]
    assert found(shelf, where=("price<10",)) == ["a"], "d has no vector, and c no record"
    assert found(shelf, sources=("shop",), where=("brand=acme", "price>10")) == ["b"]
    assert rows_of(shelf, where=("price>10",)).parts == 1
    assert rows_of(shelf, where=("price<10",)).parts == 0
    assert (rows_of(shelf).catalogue, rows_of(shelf, where=("price<10",)).catalogue) == (None, 1)


@pytest.mark.parametrize(
    ("wanted", "error", "reason"),
    [
        ({"model": "clop"}, UnknownItem, "no model 'clop' in the settings"),
        ({"model": "dino"}, IndexUnavailable, "'dino' has no index yet"),
        ({"model": "../clip"}, UnknownItem, "no model '../clip'"),
        ({"sources": ("shop",)}, UnknownItem, r"no source 'shop' in the index of model 'clip' \(there: art\)"),
        ({"batches": ("art__2",)}, UnknownItem, r"no batch 'art__2' .* \(there: art__1\)"),
        ({"where": ("brnd=Acme",)}, BadQuery, "no field 'brnd'; did you mean 'brand'"),
        ({"where": ("brand=Foo",)}, IndexUnavailable, "holds no picture of brand=Foo; widen"),
    ],
)
def test_what_is_not_there_is_said(
    shelf: Shelf, wanted: dict[str, object], error: type[Exception], reason: str
) -> None:
    shelf.put("art:1")
    shelf.catalogue({"art:1": {"brand": "Acme"}})
    for export in (export_npy, export_json, export_faiss):
        with pytest.raises(error, match=reason):
            export(shelf.context, Wanted(**wanted), shelf.root / "out")  # type: ignore[arg-type]
    assert not (shelf.root / "out").exists()


def test_no_index_an_empty_one_and_one_of_panels_are_no_export(shelf: Shelf) -> None:
    with pytest.raises(IndexUnavailable, match="is not there any more; make it with `embeddings run`"):
        export_npy(shelf.context, None, shelf.root / "out")
    shelf.put()
    with pytest.raises(IndexUnavailable, match="holds no picture at all"):
        export_npy(shelf.context, None, shelf.root / "out")
    shelf.put(Key("art:1", 1), Key("art:1", 2))
    with pytest.raises(IndexUnavailable, match="holds 2 parts of pictures, and no whole one, of art"):
        export_npy(shelf.context, Wanted(sources=("art",)), shelf.root / "out")
    with pytest.raises(IndexUnavailable, match="there is no catalogue of records yet"):
        export_npy(shelf.context, Wanted(where=("price<10",)), shelf.root / "out")
    assert not (shelf.root / "out").exists()


def test_the_generation_that_searches_see_is_exported(shelf: Shelf) -> None:
    shelf.put("art:1")
    shelf.put("art:2")
    assert found(shelf) == ["1", "2"]
    index_rollback(shelf.context, "clip")
    rows = rows_of(shelf)
    assert (rows.ids, rows.manifest.version, rows.manifest.restores) == (["1"], 3, 1)


def test_rows_stay_as_they_were_when_they_were_selected(shelf: Shelf) -> None:
    shelf.put("art:1", "art:3")
    rows = rows_of(shelf)
    shelf.put("art:2")
    assert len(np.concatenate(list(rows.blocks()))) == 2


def test_vectors_are_read_a_block_at_a_time(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 7 * 4 * 8)
    shelf.put(*(f"art:{number}" for number in range(1, 24)), segments=3)
    rows = rows_of(shelf)
    blocks = list(rows.blocks())
    assert [len(block) for block in blocks] == [7, 7, 7, 2]
    assert np.array_equal(np.concatenate(blocks), [shelf.vector(f"art:{number}") for number in range(1, 24)])
    seen: list[tuple[str, int, int]] = []
    context = replace(shelf.context, progress=lambda *each: seen.append(each))
    for export in (export_npy, export_json, export_faiss):
        export(context, None, shelf.root / "out")
    assert [done for what, done, _ in seen if what == "clip vectors"] == [7, 14, 21, 23] * 2
    assert {total for *_, total in seen} == {23}
    assert np.array_equal(np.load(shelf.root / "out" / "clip_embeddings.npy"), np.concatenate(blocks))


def test_a_block_is_a_few_megabytes_at_any_dimension(shelf: Shelf) -> None:
    shelf.put("art:1")
    rows = rows_of(shelf)
    assert rows.block_rows * rows.dimension * 4 == 8 * 2**20
    rows.manifest = replace(rows.manifest, dimension=4_000_000)
    assert rows.block_rows == 1


@pytest.mark.parametrize("name", ["vectors.npy", "rows.parquet", "index.faiss"])
def test_a_damaged_segment_is_an_error_and_no_export(shelf: Shelf, name: str) -> None:
    shelf.put("art:1", "art:2")
    (file,) = (shelf.root / "data" / "indexes").rglob(name)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    for export in (export_npy, export_json, export_faiss):
        with pytest.raises(CorruptFile, match=name):
            export(shelf.context, None, shelf.root / "out")
    file.unlink()
    with pytest.raises(MissingFile, match=name):
        export_npy(shelf.context, None, shelf.root / "out")
    assert not (shelf.root / "out").exists()


def test_texts_are_exported_as_pictures_are(tmp_path: Path) -> None:
    """The vectors of the texts of whole items; those of panels are parts."""
    shelf = make_shelf(tmp_path, model="clip_text")
    shelf.put("shop:a", Key("shop:b", 1), "shop:c")
    report = export_npy(shelf.context, Wanted(model="clip_text"), tmp_path / "out")
    assert (report.rows, report.parts) == (2, 1)
    assert np.array_equal(np.load(tmp_path / "out" / "clip_text_embeddings.npy")[1], shelf.vector("shop:c"))


def test_a_store_that_is_elsewhere_is_exported_to_this_machine(tmp_path: Path) -> None:
    shelf = make_shelf(tmp_path, data=f"memory://{tmp_path}")
    shelf.put("art:1", "art:2")
    for export in (export_npy, export_json, export_faiss):
        assert export(shelf.context, None, tmp_path / "out").rows == 2
        with pytest.raises(ExportRefused, match=r"is not on this machine; say where .* with --out"):
            export(shelf.context, None)
