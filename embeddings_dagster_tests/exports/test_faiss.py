"""The index that plain faiss opens: all its rows can be found, those that are the same among them."""

import faiss
import numpy as np
import pytest

from embeddings_dagster.exports import Wanted, export_faiss, export_npy
from embeddings_dagster.exports.hnsw_graph import build_graph, distinct, with_copies
from embeddings_dagster.index.copies import Copies
from embeddings_dagster_tests.exports.shelf import Shelf, names, read

Vectors = np.ndarray


def test_plain_faiss_finds_in_it_what_exact_search_finds(shelf: Shelf) -> None:
    shelf.put(*(f"shop:p{number}" for number in range(400)), segments=3)
    report = export_faiss(shelf.context, Wanted(sources=("shop",)), shelf.root)
    export_npy(shelf.context, Wanted(sources=("shop",)), shelf.root)
    assert names(report) == ["hnsw_clip_8.faiss", "hnsw_clip_8_index.json", "hnsw_clip_8_product_ids.json"]
    index = faiss.read_index(str(shelf.root / "hnsw_clip_8.faiss"))
    ids = read(shelf.root / "hnsw_clip_8_product_ids.json")
    vectors = np.load(shelf.root / "clip_embeddings.npy", mmap_mode="r")
    assert ids == {"product_ids": read(shelf.root / "embedding_metadata.json")["ids"]}
    assert (index.ntotal, index.d, index.metric_type) == (400, 8, faiss.METRIC_INNER_PRODUCT)
    scores, labels = index.search(vectors[:50], 10)
    exact = np.argsort(-(vectors[:50] @ vectors.T), axis=1, kind="stable")[:, :10]
    assert (labels == exact).mean() > 0.99
    assert [ids["product_ids"][label] for label in labels[:, 0]] == ids["product_ids"][:50]
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-5)
    assert report.recall is not None
    assert report.recall > 0.99


def test_it_is_an_hnsw_graph_with_its_description_as_json(shelf: Shelf) -> None:
    """What their pickle held, and no pickle."""
    shelf.put("shop:b", "shop:a")
    report = export_faiss(shelf.context, None, shelf.root / "out" / "mine.faiss")
    assert names(report) == ["mine.faiss", "mine_index.json", "mine_product_ids.json"]
    index = faiss.read_index(str(shelf.root / "out" / "mine.faiss"))
    assert isinstance(index, faiss.IndexHNSWFlat)
    assert index.hnsw.nb_neighbors(1) == 32
    assert (index.hnsw.efConstruction, index.hnsw.efSearch) == (100, 64)
    said = read(shelf.root / "out" / "mine_index.json")
    assert said["product_ids"] == ["a", "b"]
    assert (said["dimension"], said["index_type"], said["metric"]) == (8, "HNSW", "inner_product")
    assert (said["count"], said["generation"], said["recall_at_10"]) == (2, 1, 1.0)


@pytest.mark.parametrize("count", [1, 2, 11])
def test_few_rows_are_an_index(shelf: Shelf, count: int) -> None:
    shelf.put(*(f"shop:{number}" for number in range(count)))
    assert export_faiss(shelf.context, None, shelf.root).rows == count
    assert faiss.read_index(str(shelf.root / "hnsw_clip_8.faiss")).ntotal == count


def test_pictures_that_many_products_share_are_found(shelf: Shelf) -> None:
    """Hundreds of products with one and the same placeholder: faiss's own graph loses others over them."""
    images = [f"shop:p{number}" for number in range(1200)]
    shelf.same = dict.fromkeys(images[100:1000:2], "placeholder")
    shelf.put(*images, segments=2)
    report = export_faiss(shelf.context, None, shelf.root)
    index = faiss.read_index(str(shelf.root / "hnsw_clip_8.faiss"))
    ids = read(shelf.root / "hnsw_clip_8_product_ids.json")["product_ids"]
    scores, labels = index.search(shelf.vector("placeholder")[np.newaxis], 450)
    assert {ids[label] for label in labels[0]} == {image.removeprefix("shop:") for image in shelf.same}
    np.testing.assert_allclose(scores, 1, atol=1e-5)
    assert report.recall is not None
    assert report.recall > 0.99


def graph_of(vectors: Vectors, block: int = 100) -> faiss.IndexHNSWFlat:
    blocks = [vectors[start : start + block] for start in range(0, len(vectors), block)]
    copies = Copies.among(blocks)
    graph = build_graph(vectors.shape[1], distinct(blocks, copies))
    return with_copies(graph, copies, blocks) if len(copies) else graph


def unit(vectors: Vectors) -> Vectors:
    return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("repeated", [2, 65, 130, 1500, 3000])
def test_every_row_is_found_whatever_is_repeated(repeated: int) -> None:
    """At the front, at the back, and strewn: as many places as there are, each row under its own label."""
    random = np.random.default_rng(repeated)
    vectors = unit(random.standard_normal((3000, 16)))
    places = random.permutation(3000)[:repeated]
    vectors[places] = vectors[places[0]]
    index = graph_of(vectors)
    assert np.array_equal(index.reconstruct_n(0, 3000), vectors)
    index.hnsw.efSearch = 128
    _, labels = index.search(vectors[places[:1]], repeated)
    assert set(labels[0]) == set(places.tolist())
    scores, _ = index.search(vectors[:500], 10)
    exact = -np.sort(-(vectors[:500] @ vectors.T), axis=1)[:, :10]
    assert (scores >= exact[:, -1:] - 1e-5).mean() > 0.98


def test_many_equal_rows_cost_no_other_row() -> None:
    """As clustered as pictures are; faiss's own graph loses 17 % of the others here."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((100, 64))
    vectors = unit(centres[random.integers(0, 100, 13_000)] + 0.5 * random.standard_normal((13_000, 64)))
    equal = random.choice(13_000, 2000, replace=False)
    vectors[equal] = vectors[equal[0]]
    index = graph_of(vectors, block=1024)
    index.hnsw.efSearch = 64
    others = np.setdiff1d(np.arange(13_000), equal)[:500]
    scores, labels = index.search(vectors[others], 1)
    assert np.array_equal(labels[:, 0], others)
    assert scores.min() > 0.9999


def test_several_kinds_of_repeats_keep_apart() -> None:
    random = np.random.default_rng(1)
    kinds = unit(random.standard_normal((20, 16)))
    vectors = kinds[random.integers(0, 20, 2000)]
    index = graph_of(vectors)
    scores, labels = index.search(kinds, 60)
    np.testing.assert_allclose(scores, 1, atol=1e-5)
    for kind, found in zip(kinds, labels, strict=True):
        assert np.array_equal(vectors[found], np.tile(kind, (60, 1)))
        assert len(set(found)) == 60
