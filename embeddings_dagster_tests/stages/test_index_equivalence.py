"""After any history an index answers like exact search over the rows that are live in the generation served.

A failure is reproduced by its seed: `SEED=… pytest …`.
"""

import os
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from embeddings_dagster.index import strategy
from embeddings_dagster.index.tuning import tuned
from embeddings_dagster.settings import IndexSettings, Settings
from embeddings_dagster.stages import compact as compact_module
from embeddings_dagster.stages import index_segments
from embeddings_dagster.stages.verify import verify
from embeddings_dagster_tests.stages.index_history import Check, History, exact, sound
from embeddings_dagster_tests.stages.index_world import make_world

SEED = int(os.environ.get("SEED", "20261123"))


@pytest.mark.parametrize(
    ("operations", "segment_rows", "check"),
    [
        (150, 1_000_000, exact),
        (90, 20, exact),
        (40, 1_000_000, sound),
        pytest.param(10_000, 1_000_000, exact, marks=pytest.mark.torture),
    ],
    ids=["any size", "small segments", "what every index promises", "full"],
)
def test_any_history_answers_like_exact_search_over_its_rows(
    tmp_path: Path, operations: int, segment_rows: int, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact_module, "segment_rows", lambda _: segment_rows)
    history = History(tmp_path, SEED + segment_rows, check)
    print(f"seed {SEED}, {operations} operations")
    for number in range(operations):
        try:
            history.step()
        except BaseException:
            print(f"operation {number}: {history.done[-10:]}")
            raise
    print(Counter(history.done), f"{len(history.rows)} rows at the end")
    assert [problem for problem in verify(make_world(tmp_path).store) if problem.dataset == "indexes"] == []


def graphs_of_few(settings: Settings) -> Settings:
    return settings.model_copy(update={"index": IndexSettings(hnsw_rows=8)})


def test_any_history_with_graphs_keeps_what_every_index_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs of a dozen rows, searched along though comparing all would be cheaper: with rows that died, and copies."""
    monkeypatch.setattr(strategy, "GRAPH_START", 0.0)
    monkeypatch.setattr(strategy, "GRAPH_PLACE", 0.001)
    monkeypatch.setattr(index_segments, "tuned", partial(tuned, ladder=(4, 8, 12, 16, 24)))
    history = History(tmp_path, SEED, sound, graphs_of_few)
    for number in range(150):
        try:
            history.step()
        except BaseException:
            print(f"seed {SEED}, operation {number}: {history.done[-10:]}")
            raise
    store, generations = make_world(tmp_path).store, make_world(tmp_path).generations
    entries = [entry for number in generations.numbers() for entry in generations.get(number).segments]
    graphs = {entry.uuid: entry for entry in entries if entry.kind == "hnsw_fp16"}
    print(f"seed {SEED}: {len(graphs)} graphs, {sum(bool(each.deletions) for each in entries)} times rows died in one")
    assert graphs
    assert any("copies.npy" in entry.files for entry in graphs.values())
    assert any(entry.deletions for entry in entries if entry.kind == "hnsw_fp16")
    assert [problem for problem in verify(store) if problem.dataset == "indexes"] == []
