"""An index that grew: what was tuned is carried on by refreshes, which neither tune nor load a model for a few rows."""

from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.index.recall import recall_of
from embeddings_dagster.settings import IndexSettings
from embeddings_dagster.stages import index_segments
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.index_plan import Row
from embeddings_dagster_tests.index.helpers import vector
from embeddings_dagster_tests.stages.index_world import World, make_world, whole

PICTURES = whole(*(f"p{number:05}" for number in range(3_000)))


def grown(folder: Path, **index: object) -> World:
    """A world whose index is made with these settings; three thousand pictures are written, and not yet indexed."""
    world = make_world(folder)
    settings = world.context.settings.model_copy(update={"index": IndexSettings.model_validate(index)})
    context = StageContext(settings, world.store, "run", world.log.append)
    world = World(context, world.log)
    world.write("1", PICTURES)
    return world


def test_a_refresh_after_a_graph_adds_a_flat_segment_and_carries_what_was_tuned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = grown(tmp_path, hnsw_rows=3_000)
    world.refresh()
    first = world.generations.latest()
    assert first is not None
    assert (first.kinds, first.recall >= 0.95) == ({"hnsw_fp16": 1}, True)
    world.write("1", {**PICTURES, **whole("p00005", version="2"), **whole("new")})

    def never(*_: object) -> None:
        raise AssertionError("nothing is tuned for a few rows")

    monkeypatch.setattr(index_segments, "text_queries", never)
    monkeypatch.setattr(index_segments, "tuned", never)
    report = world.refresh()
    assert (report.inserted, report.updated, report.segments) == (1, 1, 2)
    second = world.generations.latest()
    assert second is not None
    assert second.kinds == {"hnsw_fp16": 1, "flat": 1}
    assert second.segments[0].recall == first.segments[0].recall
    assert second.segments[0].deletions is not None
    assert (second.recall, second.worst_decile) == (first.recall, first.worst_decile)
    generation = world.open()
    assert generation.search(vector("p00005@2"), 1)[0][:3] == ("art:p00005", 0, pytest.approx(1))
    assert generation.search(vector("new@1"), 1)[0].image_id == "art:new"
    vectors = np.array([vector(row.input_hash) for row in world.rows().values()])
    recalls = []
    for query in (vector(f"q{number}") for number in range(50)):
        found = np.array([hit.score for hit in generation.search(query, 10)], np.float32)
        recalls.append(recall_of(found, np.sort(vectors @ query)[-10:]))
    assert np.mean(recalls) >= 0.95


def test_very_many_rows_become_several_segments_each_row_in_its_place(tmp_path: Path) -> None:
    world = grown(tmp_path, segment_rows=1_300)
    world.write("2", whole(*(f"q{number}" for number in range(700))))
    report = world.refresh()
    newest = world.generations.latest()
    assert newest is not None
    assert [entry.rows for entry in newest.segments] == [1_233, 1_233, 1_234]
    assert (report.segments, report.rows) == (3, 3_700)
    rows = world.rows()
    assert rows == {
        key: Row(f"{key.image_id[4:]}@1", "art__1" if key.image_id.startswith("art:p") else "art__2") for key in rows
    }
    world.write("1", whole("p00001", "p01300", "p02999"))
    world.refresh()
    assert sorted(key.image_id for key in world.rows() if "p" in key.image_id) == [
        "art:p00001", "art:p01300", "art:p02999",
    ]  # fmt: skip
    assert world.refresh().changed is False
