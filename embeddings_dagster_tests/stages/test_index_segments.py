"""Of what kind a segment is: few rows and exact answers are flat, many a graph that is tuned once and then carried."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.encoders import ModelIdentity, identify
from embeddings_dagster.errors import Stopped
from embeddings_dagster.index import Block, Generation, SegmentEntry
from embeddings_dagster.settings import IndexSettings, Settings
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.compact import compact_index
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.index_segments import cut, make_segment, segment_sizes
from embeddings_dagster.stages.plain_queries import PLAIN_QUERIES
from embeddings_dagster.stages.recall import Measured, index_recall, index_recall_meets_target
from embeddings_dagster.stages.text_queries import query_texts, text_queries
from embeddings_dagster.store import Store
from embeddings_dagster_tests.index.clustered import WIDE, blocks, index_vectors
from embeddings_dagster_tests.index.helpers import Vector, generations_of, manifest, without
from embeddings_dagster_tests.stages.catalog_world import CatalogWorld, Item

VECTORS: Vector = index_vectors().Clusters.make(WIDE, clusters=60).pictures(6_000)[0]
TOY = ModelIdentity("bundled:dino", "0123456789ab" + "f" * 52, WIDE, {"weights": "w"})


def stage(folder: Path, **index: object) -> StageContext:
    settings = Settings(
        data=str(folder / "data"),
        models={"toy": ModelSettings(kind="dino", model="bundled:dino")},
        index=IndexSettings.model_validate({"hnsw_rows": 5_000, **index}),
    )
    return StageContext(settings, Store.open(settings.data_root, settings.cache_root), "run", [].append)


def made(context: StageContext, vectors: Vector = VECTORS, name: str = "n" * 32) -> SegmentEntry:
    return make_segment(context, generations_of(context.store), TOY, name, len(vectors), blocks(vectors))


def test_many_rows_are_a_graph_and_few_are_flat(tmp_path: Path) -> None:
    context = stage(tmp_path)
    assert made(context).kind == "hnsw_fp16"
    assert made(context, VECTORS[:4_999], "few").kind == "flat"


def test_who_asks_for_all_gets_exact_segments(tmp_path: Path) -> None:
    entry = made(stage(tmp_path, recall_target=1))
    assert (entry.kind, entry.recall) == ("flat", None)


def test_a_model_that_reads_no_text_is_tuned_on_rows_alone(tmp_path: Path) -> None:
    entry = made(stage(tmp_path, recall_target=0.9))
    assert entry.recall is not None
    assert (entry.recall.target, [kind.kind for kind in entry.recall.kinds]) == (0.9, ["rows"])


def test_says_how_far_it_is_and_what_it_came_to(tmp_path: Path) -> None:
    said: list[str] = []
    told: list[tuple[str, int, int]] = []
    context = replace(
        stage(tmp_path), log=said.append, progress=lambda what, done, total: told.append((what, done, total))
    )
    made(context)
    assert told[0] == ("toy_index graph", 0, 6_000)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert len(said) == 1
    assert said[0].startswith("toy_index: 6,000 rows in a graph: lists of ")


def test_a_stop_is_obeyed_while_the_graph_is_filled(tmp_path: Path) -> None:
    stop = threading.Event()
    context = replace(stage(tmp_path), stop=stop, progress=lambda what, done, total: done > 1_000 and stop.set())
    with pytest.raises(Stopped):
        made(context)


def test_rows_are_split_into_as_few_segments_as_need_be_of_about_one_size() -> None:
    assert segment_sizes(0, 1_000) == []
    assert segment_sizes(1_000, 1_000) == [1_000]
    assert segment_sizes(1_001, 1_000) == [500, 501]
    assert segment_sizes(7, 3) == [2, 2, 3]


def test_blocks_are_cut_where_a_segment_ends() -> None:
    got: list[list[Block]] = [list(some) for some in cut(iter(blocks(VECTORS[:100], 30)), [45, 5, 50])]
    assert [[len(block.rows) for block in some] for some in got] == [[30, 15], [5], [10, 30, 10]]
    assert np.array_equal(np.concatenate([block.vectors for some in got for block in some]), VECTORS[:100])
    names = [name for some in got for block in some for name in block.rows.column("image_id").to_pylist()]
    assert names == [f"art:{label:06}.png" for label in range(100)]
    assert got[1][0].batch == "art__0001"


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[StageContext, SegmentEntry, SegmentEntry]:
    """A generation of a graph and a flat segment."""
    context = stage(tmp_path_factory.mktemp("checked"))
    graph, flat = made(context), made(context, VECTORS[:300], "flat")
    generations = generations_of(context.store)
    generations.commit(None, replace(manifest(graph, flat), dimension=WIDE))
    return context, graph, flat


Checked = tuple[StageContext, SegmentEntry, SegmentEntry]


def test_the_check_measures_graphs_and_takes_flat_segments_for_exact(checked: Checked) -> None:
    context, graph, _ = checked
    found = index_recall(context.store, "toy", TOY)
    assert [(each.uuid, each.kind, each.rows) for each in found.segments] == [
        (graph.uuid, "hnsw_fp16", 6_000),
        ("flat", "flat", 300),
    ]
    assert (found.segments[0].recall.queries, found.segments[1].recall) == (200, type(found.recall)())
    assert found.segments[0].tuned == graph.recall
    assert 0.95 <= found.segments[0].recall.mean <= 1
    assert found.segments[0].recall.worst_decile <= found.segments[0].recall.mean <= found.recall.mean + 0.05
    assert index_recall(context.store, "toy", TOY) == found


def test_the_check_passes_at_the_target_and_fails_below_it(checked: Checked) -> None:
    store = checked[0].store
    passed = index_recall_meets_target(store, "toy", TOY, 0.95)
    assert passed.passed
    assert passed.detail["target"] == 0.95
    failed = index_recall_meets_target(store, "toy", TOY, 0.99999)
    assert not failed.passed
    assert "recall@10 below 0.99999" in failed.description
    assert "was tuned to" in failed.description
    assert "embeddings index compact" in failed.description


def test_a_mean_is_below_the_target_only_where_more_than_the_luck_of_the_draw_says_so() -> None:
    assert not Measured(0.94, 0.5, 200, 0.01).is_below(0.95)
    assert Measured(0.92, 0.5, 200, 0.01).is_below(0.95)
    assert Measured(0.9499, 0.9, 200, 0.0).is_below(0.95)
    assert not Measured().is_below(1)


def test_a_raised_target_is_met_again_after_the_compaction_that_the_check_names(tmp_path: Path) -> None:
    low = stage(tmp_path, recall_target=0.3)
    entry = made(low)
    generations = generations_of(low.store)
    generations.commit(None, replace(manifest(entry), dimension=WIDE))
    target = 0.9999
    before = index_recall_meets_target(low.store, "toy", TOY, target)
    assert not before.passed
    assert ". `embeddings index compact` builds it anew" in before.description
    report = compact_index(stage(tmp_path, recall_target=target), "toy", TOY)
    assert (report.merges, report.finished, report.rows) == (1, True, 6_000)
    assert index_recall_meets_target(low.store, "toy", TOY, target).passed


def test_a_graph_that_lost_its_way_fails_the_check(tmp_path: Path) -> None:
    """Its labels say of each row that it is another one: what is found is not near."""
    context = stage(tmp_path)
    entry, wrong = made(context), made(context, VECTORS[::-1].copy(), "other")
    generations = generations_of(context.store)
    root = Path(context.store.root, generations.folder)
    (root / entry.path("index.faiss")).write_bytes((root / wrong.path("index.faiss")).read_bytes())
    files = {**entry.files, "index.faiss": wrong.files["index.faiss"]}
    generations.commit(None, replace(manifest(replace(entry, files=files)), dimension=WIDE))
    result = index_recall_meets_target(context.store, "toy", TOY, 0.95)
    assert not result.passed
    assert "segment nnnnnnnn finds 0." in result.description


def test_no_index_and_an_exact_one_pass_without_a_search(tmp_path: Path) -> None:
    context = stage(tmp_path)
    nothing = index_recall_meets_target(context.store, "toy", TOY, 0.95)
    assert (nothing.passed, nothing.detail["generation"]) == (True, None)
    flat = made(context, VECTORS[:50])
    generations = generations_of(context.store)
    base = generations.commit(None, replace(manifest(flat), dimension=WIDE))
    exact = index_recall_meets_target(context.store, "toy", TOY, 1.0)
    assert (exact.passed, exact.description, exact.detail["queries"]) == (True, "every search is exact", 0)
    generations.commit(base, replace(manifest(without(generations, flat, *range(50))), dimension=WIDE))
    assert index_recall_meets_target(context.store, "toy", TOY, 1.0).passed


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[StageContext, ModelIdentity]:
    folder = tmp_path_factory.mktemp("clip")
    model = ModelSettings(kind="clip", model="bundled:clip")
    settings = Settings(data=str(folder / "data"), models={"toy": model}, index=IndexSettings(hnsw_rows=3_000))
    return StageContext(settings, Store.open(settings.data_root, settings.cache_root), "run"), identify(model)


def test_a_model_that_reads_text_is_tuned_on_words_too(clip: tuple[StageContext, ModelIdentity]) -> None:
    context, identity = clip
    vectors = text_queries(context, "toy", identity)
    assert vectors.shape == (len(PLAIN_QUERIES), identity.dimension)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    random = np.random.default_rng(0)
    drawn = vectors[random.integers(len(vectors), size=3_500)] + 0.05 * random.standard_normal(
        (3_500, vectors.shape[1])
    )
    pictures: Vector = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    generations = generations_of(context.store)
    entry = make_segment(context, generations, identity, "n" * 32, 3_500, blocks(pictures))
    assert entry.recall is not None
    assert [kind.kind for kind in entry.recall.kinds] == ["rows", "texts"]
    assert Generation.open(generations, replace(manifest(entry), dimension=identity.dimension)).search(vectors[0], 5)


def test_texts_of_another_fingerprint_are_not_used_and_that_is_logged(
    clip: tuple[StageContext, ModelIdentity],
) -> None:
    said: list[str] = []
    gone = replace(clip[1], fingerprint="0" * 64)
    vectors = text_queries(replace(clip[0], log=said.append), "toy", gone)
    assert vectors.shape == (0, gone.dimension)
    assert said == [
        "toy_index is tuned on its own rows alone, for texts cannot be read or encoded now: its files are not those of "
        "000000000000 any more"
    ]


def test_plain_words_are_many_and_different() -> None:
    assert len(PLAIN_QUERIES) == len(set(PLAIN_QUERIES)) >= 128
    assert all(query == query.strip() and query for query in PLAIN_QUERIES)


def test_queries_without_records_are_plain_words(tmp_path: Path) -> None:
    assert query_texts(stage(tmp_path).store) == list(PLAIN_QUERIES)


def test_titles_of_the_own_records_come_first(tmp_path: Path) -> None:
    context = stage(tmp_path)
    world = CatalogWorld(context, [])
    told = {f"art:{number:03}": Item({"title": f" title {number} ", "name": "not this"}) for number in range(200)}
    world.write("1", {**told, "art:again": Item({"title": "title 7"})})
    queries = query_texts(context.store)
    assert queries[:128] == [f"title {number}" for number in range(128)]
    assert queries[128:] == list(PLAIN_QUERIES)[: 256 - 128]


def test_what_a_record_says_is_its_first_field_that_says_something_or_a_panels_text(tmp_path: Path) -> None:
    context = stage(tmp_path)
    items = {
        "art:a": Item({"title": "  ", "caption": "a caption", "text": "later"}),
        "art:b": Item({"title": 5, "name": "ü 日本 🦁"}),
        "art:c": Item({}, text="WHERE ARE WE?", panels=["here"]),
        "art:d": Item({"price": "3"}),
        "art:e": Item({"description": "x" * 500}),
    }
    CatalogWorld(context, []).write("1", items)
    own = query_texts(context.store)[: -len(PLAIN_QUERIES)]
    assert own == ["a caption", "ü 日本 🦁", "WHERE ARE WE?", "x" * 200]


def test_titles_come_from_batches_all_over(tmp_path: Path) -> None:
    context = stage(tmp_path)
    world = CatalogWorld(context, [])
    for batch in range(16):
        world.write(f"{batch:02}", {f"art:{batch}-{each}": Item({"title": f"{batch} {each}"}) for each in range(40)})
    own = [text for text in query_texts(context.store) if text not in PLAIN_QUERIES]
    assert len(own) == 128
    assert {text.split()[0] for text in own} == {str(batch) for batch in range(0, 16, 2)}
