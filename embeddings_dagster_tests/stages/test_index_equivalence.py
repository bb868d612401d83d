"""After any history an index answers like exact search over the rows that are live in the generation served.

A failure is reproduced by its seed: `SEED=… pytest …`.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from embeddings_dagster.stages import compact as compact_module
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
