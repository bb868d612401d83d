"""Real runs killed at random moments and at every named step, inputs changed between: nothing lost, nothing wrong.

Another seed: `TORTURE_SEED=… pytest …`. A violation names its world's seed and what was done to it; the world is kept.
"""

import os
from pathlib import Path

import pytest

from embeddings_dagster.store.steps import STEPS
from embeddings_dagster_tests.torture.machine import torture

SEED = int(os.environ.get("TORTURE_SEED", "20261129"))


def test_forty_kills_lose_nothing_and_leave_nothing_wrong(tmp_path: Path) -> None:
    done = torture(tmp_path, kills=40, seed=SEED, world=40)
    assert done.violations == [], "\n".join(done.violations)
    assert done.tally.kills >= 40, "kills that came too late do not count"
    assert done.tally.moments >= 8
    assert len(done.tally.steps) >= 10


@pytest.mark.torture
def test_a_thousand_kills_at_every_step_lose_nothing_and_leave_nothing_wrong(tmp_path: Path) -> None:
    done = torture(tmp_path, kills=1000, seed=SEED)
    assert done.violations == [], "\n".join(done.violations)
    assert done.tally.kills >= 1000, "kills that came too late do not count"
    assert set(done.tally.steps) == set(STEPS), "a step at which nobody was killed is not known to be safe"
