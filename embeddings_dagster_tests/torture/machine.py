"""The machine: worlds one after the other until there were enough kills, and a summary of what was done.

A violation ends its world, which stays on the disk as it is; it names the seed, what was done before, and how to do it
again.
"""

import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embeddings_dagster.store.steps import STEPS
from embeddings_dagster_tests.shop import open_shop
from embeddings_dagster_tests.torture.golden import Golden
from embeddings_dagster_tests.torture.warm import Warm
from embeddings_dagster_tests.torture.world import Tally, World, say

SUMMARY = "TORTURE_SUMMARY"  # not one of ours: settings refuse names that they do not know
KILLS_A_ROUND = 14  # a round ends with an undisturbed run, and a look at everything
TOLD = 40  # operations of the history told with a violation


@dataclass
class Done:
    """What came of it. Seconds are of the clock, and of all cores together."""

    seed: int
    tally: Tally
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        tally = self.tally
        steps = {step: tally.steps[step] for step in STEPS}
        return {
            "seed": self.seed,
            "worlds": tally.worlds,
            "kills": tally.kills,
            "kills_at_moments": tally.moments,
            "kills_at_steps": sum(steps.values()),
            "kills_too_late": tally.late,
            "kills_by_step": steps,
            "kills_by_command": dict(tally.kinds),
            "runs": sum(tally.commands.values()),
            "runs_by_command": dict(tally.commands),
            "changes": sum(tally.changes.values()),
            "changes_by_kind": dict(tally.changes),
            "checks": dict(tally.checks),
            "litter_by_kind": dict(tally.litter),
            "violations": self.violations,
            "seconds": round(self.seconds, 1),
            "cpu_seconds": round(self.cpu_seconds, 1),
        }


def torture(folder: Path, *, kills: int, seed: int, world: int = 100, summary: Path | None = None) -> Done:
    """Kill until `kills` have met a live process, in worlds of `world` kills below `folder`; a world that ended well is
    removed. Ends at the first violation. The summary is written after every round, so whoever ends it early has one."""
    say(f"torture: seed {seed}, {kills} kills")
    started, used = time.monotonic(), _cpu()
    done = Done(seed, Tally())
    place = summary or (Path(os.environ[SUMMARY]) if SUMMARY in os.environ else None)

    def keep() -> None:
        done.seconds, done.cpu_seconds = time.monotonic() - started, _cpu() - used
        if place is not None:
            place.write_text(json.dumps(done.document(), indent=1) + "\n")

    with Warm() as warm, open_shop() as shop:
        golden = Golden()
        number = 0
        while done.tally.kills < kills and not done.violations:
            made = World(folder / f"world-{seed + number}", seed + number, warm, golden, shop, done.tally)
            try:
                _live(made, min(world, kills - done.tally.kills), keep)
            except AssertionError as error:
                done.violations.append(_told(made, error, world))
            else:
                shutil.rmtree(made.root)
            number += 1
    keep()
    say(json.dumps(done.document(), indent=1))
    return done


def _live(world: World, kills: int, keep: Callable[[], None]) -> None:
    world.begin()
    before = world.tally.kills
    while (left := before + kills - world.tally.kills) > 0:
        world.torment(min(left, KILLS_A_ROUND))
        keep()
        say(f"world {world.seed}: {world.tally.kills} kills, {world.tally.late} too late")


def _told(world: World, error: AssertionError, kills: int) -> str:
    lines = [
        f"world {world.seed}: {type(error).__name__}: {error}",
        f"do it again: python -m embeddings_dagster_tests.torture --seed {world.seed} --kills {kills}",
        f"it lies in {world.root}; before that ({len(world.history)} operations, the last {TOLD}):",
        *world.history[-TOLD:],
    ]
    return "\n  ".join(lines)


def _cpu() -> float:
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)
