"""Whatever operation of the store fails, and however: the old state or the new one, an error that says what to do, and
a next run that ends like one that never failed."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from embeddings_dagster.stages import looks, settling
from embeddings_dagster_tests.faults.faulty import ERRORS
from embeddings_dagster_tests.faults.scenarios import SCENARIOS
from embeddings_dagster_tests.faults.sweep import sweep

SEED = 20270317
SHARES = {"registry": 0.5, "batch": 0.05, "export": 0.05}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here cuts the power, and no second look at a file needs two seconds."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    for module in (looks, settling):
        monkeypatch.setattr(module, "APART", timedelta(0))


@pytest.mark.parametrize("share", [0.02, pytest.param(1.0, marks=pytest.mark.torture)], ids=["some", "all"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_after_any_fault_the_state_is_old_or_new_and_the_next_run_heals_it(
    tmp_path: Path, name: str, share: float
) -> None:
    print(f"seed {SEED}")
    swept = sweep(tmp_path, share=max(share, SHARES.get(name, 0)), seed=SEED, names=[name])
    assert swept.violations == []
    assert swept.met.total() > swept.survived
    assert {operation for _, operation, _ in swept.met} <= ERRORS.keys()
