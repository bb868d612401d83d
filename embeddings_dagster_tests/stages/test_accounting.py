"""Over the whole chain, every input is accounted for exactly once at each stage, whatever happens to the inputs."""

import random
from pathlib import Path

import pytest

from embeddings_dagster_tests.stages.counted_world import CountedWorld, totals


def follow(root: Path, seed: int, steps: int) -> None:
    """Change things at random, run, and hold what each stage says against a count of the input files."""
    world = CountedWorld(root, random.Random(seed))
    happened: list[str] = []
    for _ in range(steps):
        story = f"seed {seed}, after {happened}"
        said = totals(list(world.run()))
        for source, (seen, taken) in world.listed().items():
            listing = said["listing", source]
            assert (listing["total"], listing["processed"]) == (seen, taken), f"{source}: {story}"
            ledger = said["ledger", source]
            assert ledger["total"] == len(world.images()[source]), f"{source}: {story}"
        for (stage, source), (total, made, failed, placed) in world.expected().items():
            found = said[stage, source]
            there = found["processed"] + found["skipped"]
            assert (found["total"], there, found["failed"]) == (total, made, failed), f"{stage} of {source}: {story}"
            if placed:
                assert found["total"] - found["superseded"] == placed, f"{stage}: {story}"
        happened += [world.change() for _ in range(3)]


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("seed", range(1))
def test_every_input_is_accounted_for_once_at_every_stage(tmp_path: Path, seed: int) -> None:
    follow(tmp_path, seed, steps=3)


@pytest.mark.torture
@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("seed", range(100, 140))
def test_every_input_is_accounted_for_once_at_every_stage_for_long(tmp_path: Path, seed: int) -> None:
    follow(tmp_path, seed, steps=8)
