"""What all tests share: as many threads as there are cores, not that many in each worker; S3 on loopback; an order."""

import os

import pytest

# Workers and the commands they start share the cores. Two OpenMP teams that wait for each other by spinning take
# fifteen times as long as one thread each. Set before torch or faiss is loaded, and inherited by subprocesses.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from embeddings_dagster_tests.storage_fixtures import s3, s3_server

__all__ = ["s3", "s3_server"]

# A minute and more each. They come first, so that none is left for one worker when the others have nothing to do.
LONGEST = (
    "test_forty_kills_lose_nothing_and_leave_nothing_wrong",
    "test_every_command_runs",
    "test_sensors_schedule_queue_ui_and_backfill",
    "test_three_ways_to_launch_without_a_daemon",
    "test_the_demo_finds_its_pictures_and_a_second_one_encodes_nothing",
    "test_stop_signals_are_obeyed_and_nothing_is_left_behind",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.name not in LONGEST)
