"""kill -9 at random moments, then one run to the end: as if nothing had happened."""

import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from embeddings_dagster.stages.verify import verify
from embeddings_dagster_tests.cli.command import COMMAND, environment
from embeddings_dagster_tests.line.project import Project, latest

SEED = 20261121
PART = 512  # images in a part at most: what a kill may cost


@pytest.mark.torture  # `torture/` has more of them sooner; here it is parts of full size, and processes started cold
@pytest.mark.parametrize(("pictures", "kills"), [(1025, 20)])
def test_a_run_killed_at_random_moments_ends_like_an_undisturbed_one(tmp_path: Path, pictures: int, kills: int) -> None:
    undisturbed = Project.make(tmp_path / "undisturbed", pictures)
    started = time.monotonic()
    undisturbed.run()
    seconds = time.monotonic() - started
    moments = random.Random(SEED)
    print(f"seed {SEED}: {kills} kills within {seconds:.0f} s each")

    killed, rounds = 0, 0
    while killed < kills:  # a run that came to its end in spite of all kills: another one from the beginning
        disturbed = Project.make(tmp_path / f"disturbed-{rounds}", pictures)
        rounds += 1
        while killed < kills and kill_within(disturbed, moments.uniform(0.05, 0.95) * seconds):
            killed += 1
        disturbed.run()
        assert_equal(undisturbed, disturbed)
        for dataset in ("raw_images", "rgb_images", "embeddings"):
            assert_nothing_committed_was_made_twice(disturbed, dataset)
        assert verify(disturbed.store) == []
        assert_no_slot_is_held(disturbed)
    print(f"{killed} kills in {rounds} rounds")


def kill_within(project: Project, seconds: float) -> bool:
    """Start a run and kill it after so many seconds; whether it was still going."""
    with (project.root / "killed.log").open("ab") as log:
        process = subprocess.Popen(
            [COMMAND, "run"], cwd=project.root, env=environment(), stdout=log, stderr=log, start_new_session=True
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            return True
    return False


def assert_equal(one: Project, other: Project) -> None:
    for dataset in ("raw_images", "rgb_images"):
        assert rows_of(one, dataset) == rows_of(other, dataset)
    expected, found = one.vectors(), other.vectors()
    assert found.keys() == expected.keys()
    assert max(float(np.abs(found[each] - expected[each]).max()) for each in expected) < 1e-5
    ids = [set(index_ids(project)) for project in (one, other)]
    assert ids[0] == ids[1] == found.keys()


def rows_of(project: Project, dataset: str) -> list[tuple[str, str]]:
    chain = project.chain(dataset)
    table = chain.rows(latest(chain), ["image_id", "sha256" if dataset == "raw_images" else "input_hash"])
    return sorted(zip(*(column.to_pylist() for column in table.columns), strict=True))


def assert_no_slot_is_held(project: Project) -> None:
    with dg.DagsterInstance.from_config(str(project.root / ".dagster")) as instance:
        pools = instance.event_log_storage.get_concurrency_keys()
        assert "gpu" in pools
        for pool in pools:
            assert not instance.event_log_storage.get_concurrency_info(pool).claimed_slots
        assert [run.status for run in instance.get_runs() if not run.is_finished] == []


def index_ids(project: Project) -> list[str]:
    from embeddings_dagster.index import Generation, Generations

    fp12 = project.chain("embeddings").dataset.rsplit("/", 1)[1]
    generations = Generations(project.store, "clip", fp12)
    manifest = generations.latest()
    assert manifest is not None
    generation = Generation.open(generations, manifest)
    hits = generation.search(next(iter(project.vectors().values())), k=10_000)
    return [hit.image_id for hit in hits]


def assert_nothing_committed_was_made_twice(project: Project, dataset: str) -> None:
    """Each version builds on the last: a row that was once committed is in one part only."""
    chain = project.chain(dataset)
    parts = {part.file: part for number in chain.versions.numbers() for part in chain.get(number).parts}
    made: Counter[str] = Counter()
    for part in parts.values():
        with chain.part(part.file, part.sha256) as opened:
            made.update(opened.read(("image_id",)).column("image_id").to_pylist())
    assert set(made.values()) == {1}, f"{dataset} was made twice for {[each for each, n in made.items() if n > 1][:5]}"
    assert all(part.rows <= PART for part in parts.values())
